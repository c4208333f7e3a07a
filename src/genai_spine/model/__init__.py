"""What a conversation is: values that every other floor speaks of.

Imports the standard library and msgspec.
"""
