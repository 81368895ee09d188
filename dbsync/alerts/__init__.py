"""Telling somebody when a node is not as it should be, and when it is again."""
