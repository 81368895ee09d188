"""dbsync: bring the changes of offline PostgreSQL databases home, matched by natural keys."""

__version__ = "0.1.0"
