"""The commands: one file each, registered in one line of :mod:`dbsync.cli.main`."""

import gc

gc.set_threshold(
    50_000
)  # what is imported stays: looking for garbage among it is a tenth of the time that a command starts in
