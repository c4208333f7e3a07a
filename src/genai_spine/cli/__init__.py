"""`spine`: one command a module, imported when it is called. main.py has the list and the exit codes."""
