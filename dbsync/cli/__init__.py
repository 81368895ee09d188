"""The commands: one file each, registered in one line of :mod:`dbsync.cli.main`."""
