-- What one comparison remembers names a table as dbsync.toml and every screen do: without the schema public.

COMMENT ON COLUMN dbsync.compared.relation IS 'The table, as dbsync.toml names it: schema.table, without the schema where it is public.';
COMMENT ON COLUMN dbsync.difference.relation IS 'The table, as dbsync.toml names it: schema.table, without the schema where it is public.';
