-- The names that columns of this database have had: nodes that are not migrated yet still say them.

CREATE TABLE dbsync.column_names (
    database  text NOT NULL,
    relation  oid NOT NULL,
    names     text[] NOT NULL,
    PRIMARY KEY (database, relation)
);
COMMENT ON TABLE dbsync.column_names IS
    'Every name under which a column of a table was seen here: a migration that renames or drops it leaves its number, and nodes may still say the name.';
COMMENT ON COLUMN dbsync.column_names.database IS 'The cluster and the database in which the numbers mean anything; a dump that is restored has others.';
COMMENT ON COLUMN dbsync.column_names.relation IS 'The table, by its oid.';
COMMENT ON COLUMN dbsync.column_names.names IS 'What its columns are called and were: the number (attnum), a space, a name.';
GRANT SELECT, INSERT, UPDATE (names) ON dbsync.column_names TO dbsync_replicator;
GRANT SELECT ON dbsync.column_names TO dbsync_reader, dbsync_web;

-- Those of now; others are written down as they are met.
INSERT INTO dbsync.column_names (database, relation, names)
SELECT format('%s/%s', s.system_identifier, d.oid), c.oid, array_agg(a.attnum || ' ' || a.attname ORDER BY a.attnum)
FROM pg_control_system() s
JOIN pg_database d ON d.datname = current_database()
CROSS JOIN pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'dbsync') AND n.nspname !~ '^pg_(toast|temp)'
GROUP BY s.system_identifier, d.oid, c.oid;
