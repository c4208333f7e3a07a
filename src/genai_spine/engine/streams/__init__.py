"""Streams that have begun: their first event, the guards, what happens where one breaks."""
