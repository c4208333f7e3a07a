"""Answers that are given again: where they are kept, and when they may be."""
