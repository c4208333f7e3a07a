"""Providers: where a request is sent, and the only upstream I/O there is."""
