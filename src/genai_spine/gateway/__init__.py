"""The gateway: HTTP in the callers' dialects on one side, the engine on the other.

app.py has the routes in one list; chat.py answers every dialect with one handler.
"""
