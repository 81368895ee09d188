-- Batches that a middleman has: no receipts, every change stays here until one is back.

CREATE TABLE dbsync.custody (
    link         text NOT NULL,
    incarnation  uuid NOT NULL,
    number       bigint NOT NULL,
    relay        text NOT NULL,
    at           timestamptz NOT NULL,
    note         bytea NOT NULL,
    signature    bytea NOT NULL,
    PRIMARY KEY (link, incarnation, number, relay)
);
COMMENT ON TABLE dbsync.custody IS 'Custody notes of relays for batches that have no receipt, each as its relay signed it.';

REVOKE ALL ON dbsync.custody FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON dbsync.custody TO dbsync_replicator;
GRANT SELECT ON dbsync.custody TO dbsync_reader;

-- In which transaction of which life of this node a batch was applied: what a tier above has of it is told by that.
ALTER TABLE dbsync.receipt ADD xid xid8, ADD life uuid;
COMMENT ON COLUMN dbsync.receipt.life IS 'The incarnation of this node in which xid counts; null where nothing is passed on.';

ALTER TABLE dbsync.link ADD above jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN dbsync.link.above IS 'Up to which batch each tier above the upstream had everything at the last contact; null where that could not be told.';
