-- What nodes tell of themselves when they are in touch: an upstream knows of them what they brought, and not what they still have.

CREATE TABLE dbsync.greeting (
    node       text PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    program    text NOT NULL,
    schema     text NOT NULL,
    clock_off  double precision,
    pending    bigint NOT NULL,
    exact      boolean NOT NULL,
    oldest     timestamptz,
    carried    jsonb NOT NULL
);
COMMENT ON TABLE dbsync.greeting IS
    'Of each node, at its last contact: its dbsync and the revision of its schema, by how many seconds its clock was ahead, its changes without a receipt, and with which drivers they were.';

REVOKE ALL ON dbsync.greeting FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON dbsync.greeting TO dbsync_replicator;
GRANT SELECT ON dbsync.greeting TO dbsync_reader, dbsync_web;
