"""What does it: one call from plan to answer. call.py is the place to begin reading."""
