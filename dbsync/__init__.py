"""dbsync: bring the changes of offline PostgreSQL databases home, matched by natural keys."""

try:
    from dbsync._version import __version__
except ModuleNotFoundError:  # a checkout that was never installed: the build writes that file
    __version__ = "0+unknown"

__all__ = ["__version__"]
