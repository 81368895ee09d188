-- The names that columns of this database have had: nodes that are not migrated yet still say them.

CREATE TABLE dbsync.known_column (
    database  text NOT NULL,
    relation  oid NOT NULL,
    number    smallint NOT NULL,
    name      text NOT NULL,
    PRIMARY KEY (database, relation, number, name)
);
COMMENT ON TABLE dbsync.known_column IS
    'Every name under which a column was seen here: a migration that renames or drops it leaves its number, and nodes may still say the name.';
COMMENT ON COLUMN dbsync.known_column.database IS 'The cluster and the database in which the numbers mean anything; a dump that is restored has others.';
COMMENT ON COLUMN dbsync.known_column.relation IS 'The table, by its oid.';
COMMENT ON COLUMN dbsync.known_column.number IS 'The column, by its attnum.';
COMMENT ON COLUMN dbsync.known_column.name IS 'A name that it has, or had.';
GRANT SELECT, INSERT ON dbsync.known_column TO dbsync_replicator;
GRANT SELECT ON dbsync.known_column TO dbsync_reader, dbsync_web;

-- Those of now; others are written down as they are met.
INSERT INTO dbsync.known_column (database, relation, number, name)
SELECT format('%s/%s', s.system_identifier, d.oid), c.oid, a.attnum, a.attname
FROM pg_control_system() s
JOIN pg_database d ON d.datname = current_database()
CROSS JOIN pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'dbsync') AND n.nspname !~ '^pg_(toast|temp)';
