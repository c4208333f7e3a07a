"""Decisions, as functions of values: the clock and chance are arguments, nothing here waits or sends."""
