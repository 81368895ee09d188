"""Alembic's entry: runs the revisions on the connection that dbsync.schema hands over, or prints them."""

from __future__ import annotations

from alembic import context

connection = context.config.attributes.get("connection")

if connection is None:
    context.configure(dialect_name="postgresql", version_table_schema="dbsync", literal_binds=True)
else:
    context.configure(connection=connection, version_table_schema="dbsync")
with context.begin_transaction():
    context.run_migrations()
