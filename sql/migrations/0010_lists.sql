-- Boxes that were checked against the data: this node's own on their way to the upstream, and those of others that came here.

CREATE TABLE dbsync.list (
    id          uuid PRIMARY KEY,
    made_by     text NOT NULL,
    made_at     timestamptz NOT NULL,
    paper       bytea NOT NULL,
    signature   bytea NOT NULL,
    own         boolean NOT NULL,
    kept_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
    sent_at     timestamptz
);
COMMENT ON TABLE dbsync.list IS 'Boxes checked against the data, each as the node or relay signed it on which that was done.';
CREATE INDEX list_unsent ON dbsync.list (made_at) WHERE own AND sent_at IS NULL;

REVOKE ALL ON dbsync.list FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON dbsync.list TO dbsync_replicator;
GRANT SELECT (id, made_by, made_at, signature, own, kept_at, sent_at) ON dbsync.list TO dbsync_reader;
