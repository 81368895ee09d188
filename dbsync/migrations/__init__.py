"""The version of dbsync's own schema, kept by alembic."""
