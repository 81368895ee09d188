"""The command ``dbsync``."""
