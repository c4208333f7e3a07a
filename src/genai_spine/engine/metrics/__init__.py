"""Calls as numbers for a monitoring system: what is counted (`calls.py`), and what such numbers are (`families.py`)."""
