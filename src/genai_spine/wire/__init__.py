"""Bytes to frames and back, without I/O: server-sent events, newline-delimited JSON, strict JSON.

Nothing here knows a dialect, a provider or a socket. A frame is the unit a sender meant, whatever
the network made of it: feeding the same bytes cut at any place gives the same frames.
"""
