"""Whom a request is sent to, and why."""
