-- Lives of a database that are over, at the node and at its upstream. A stick of one may be found years after; where the upstream went
-- back in time and not all that it lost could be sent again, such a stick would bring back what has passed.

CREATE TABLE dbsync.life (
    link          text NOT NULL REFERENCES dbsync.link ON DELETE CASCADE,
    incarnation   uuid NOT NULL,
    number        bigint NOT NULL,
    hash          bytea NOT NULL,
    acknowledged  bigint NOT NULL,
    reached       bigint,
    told          boolean NOT NULL DEFAULT false,
    PRIMARY KEY (link, incarnation)
);
COMMENT ON TABLE dbsync.life IS 'Lives of this database that are over, as far as batches of them left over a link.';
COMMENT ON COLUMN dbsync.life.link IS 'The upstream they went to.';
COMMENT ON COLUMN dbsync.life.incarnation IS 'Which life.';
COMMENT ON COLUMN dbsync.life.number IS 'The last batch of it that left.';
COMMENT ON COLUMN dbsync.life.hash IS 'Its SHA-256.';
COMMENT ON COLUMN dbsync.life.acknowledged IS 'The last batch of it that had a receipt; 0 where none had.';
COMMENT ON COLUMN dbsync.life.reached IS
    'How far in the log those batches went that left and had no receipt; null where there was none.';
COMMENT ON COLUMN dbsync.life.told IS
    'Whether every batch tells the upstream that it is over: it went back in time, and not all that it lost of it could be sent again.';

INSERT INTO dbsync.life (link, incarnation, number, hash, acknowledged)
SELECT DISTINCT ON (s.link, s.incarnation) s.link, s.incarnation, s.number, s.hash, s.number
FROM dbsync.sent s CROSS JOIN dbsync.node n
WHERE s.incarnation <> n.incarnation AND s.acknowledged_at IS NOT NULL
ORDER BY s.link, s.incarnation, s.number DESC;

CREATE TABLE dbsync.ended (
    node         text NOT NULL,
    incarnation  uuid NOT NULL,
    link         text NOT NULL,
    number       bigint NOT NULL,
    hash         bytea NOT NULL,
    at           timestamptz NOT NULL DEFAULT pg_catalog.now(),
    parted_from  uuid,
    PRIMARY KEY (node, incarnation, link)
);
COMMENT ON TABLE dbsync.ended IS
    'Up to where batches of a life of a node are not applied any more: it is over, as the node said, or it parted there from another.';
COMMENT ON COLUMN dbsync.ended.node IS 'The node.';
COMMENT ON COLUMN dbsync.ended.incarnation IS 'Which life of it.';
COMMENT ON COLUMN dbsync.ended.link IS 'The link, as the node calls it.';
COMMENT ON COLUMN dbsync.ended.number IS 'Up to which batch.';
COMMENT ON COLUMN dbsync.ended.hash IS 'The SHA-256 of that batch; one that follows it is taken.';
COMMENT ON COLUMN dbsync.ended.at IS 'Since when.';
COMMENT ON COLUMN dbsync.ended.parted_from IS
    'The life from which it parted: a stick brought another batch under a number that was taken; null for one that is over.';

REVOKE ALL ON dbsync.life, dbsync.ended FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE ON dbsync.life, dbsync.ended TO dbsync_replicator;
GRANT SELECT ON dbsync.life, dbsync.ended TO dbsync_reader, dbsync_web;
