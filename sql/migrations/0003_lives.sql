-- The lives of a database: restored, copied, reloaded.

-- The incarnation this database was first installed with. A restored, copied or reloaded database goes on under another
-- incarnation, and keeps its lineage: by it the upstream knows what two lives have in common.
ALTER TABLE dbsync.node ADD lineage uuid;
UPDATE dbsync.node SET lineage = incarnation;
ALTER TABLE dbsync.node ALTER lineage SET NOT NULL;

-- Numbers belong to an incarnation; place is the order over all of them. joint: where the window was to end, for a batch
-- that reaches over it.
ALTER TABLE dbsync.sent ADD incarnation uuid, ADD joint pg_snapshot, ADD place bigint;
UPDATE dbsync.sent s
SET incarnation = n.incarnation,
    place = s.number,
    joint = CASE WHEN s.after_seq > 0 AND s.acknowledged_at IS NULL AND s.window_end::text <> l.window_end::text
            THEN l.window_end END
FROM dbsync.node n, dbsync.link l
WHERE l.name = s.link;
ALTER TABLE dbsync.sent ALTER incarnation SET NOT NULL, ALTER place SET NOT NULL, DROP CONSTRAINT sent_pkey,
    ADD PRIMARY KEY (link, incarnation, number), ALTER place ADD GENERATED ALWAYS AS IDENTITY;
SELECT pg_catalog.setval(pg_catalog.pg_get_serial_sequence('dbsync.sent', 'place'), s.place)
FROM dbsync.sent s ORDER BY s.place DESC LIMIT 1;
CREATE INDEX sent_place ON dbsync.sent (link, place);
CREATE OR REPLACE VIEW dbsync.batch AS
    SELECT link, number, changes, transactions, sent_at, acknowledged_at, encode(hash, 'hex') AS hash, incarnation
    FROM dbsync.sent;

-- The highest number of the log that was ever acknowledged: what is above it was not, whatever its transaction id seems
-- to say in a cluster that is not the one it was captured in.
ALTER TABLE dbsync.link ADD reached_seq bigint NOT NULL DEFAULT 0;
UPDATE dbsync.link l
SET reached_seq = greatest(l.window_seq, (SELECT max(s.last_seq) FROM dbsync.sent s
                                          WHERE s.link = l.name AND s.acknowledged_at IS NOT NULL));

-- What a batch held, by the last number of each transaction and the moment of that change: two timelines of one database
-- may give a number twice, at the same microsecond never. Receipts of before this have link '' and no lineage.
ALTER TABLE dbsync.receipt ADD lineage uuid, ADD link text NOT NULL DEFAULT '', ADD first_tx bigint, ADD last_tx bigint,
    ADD transactions bigint[], ADD moments timestamptz[], ADD dropped bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT receipt_pkey, ADD PRIMARY KEY (node, incarnation, link, number);
CREATE INDEX receipt_lineage ON dbsync.receipt (lineage, incarnation, link);
COMMENT ON COLUMN dbsync.receipt.dropped IS 'Changes of the batch that were here already, by another life or link of the node.';

CREATE TABLE dbsync.event (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at    timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    kind  text NOT NULL,
    link  text,
    what  text NOT NULL,
    hint  text NOT NULL
);
COMMENT ON TABLE dbsync.event IS 'What happened to this database or its upstream that a person should know: restored, copied, reloaded.';

CREATE TABLE dbsync.restamp (
    last_seq   bigint PRIMARY KEY,
    first_seq  bigint NOT NULL,
    xid        xid8 NOT NULL
);
CREATE INDEX restamp_xid ON dbsync.restamp (xid);
COMMENT ON TABLE dbsync.restamp IS 'Transactions of a reloaded log that still have the id they had in another cluster.';

GRANT INSERT ON dbsync.event TO dbsync_replicator;
GRANT INSERT, DELETE ON dbsync.restamp TO dbsync_replicator;
GRANT UPDATE (dropped) ON dbsync.receipt TO dbsync_replicator;
GRANT SELECT ON dbsync.event, dbsync.restamp TO dbsync_reader;

-- Gives one transaction of a reloaded log an id of this cluster: that of the transaction which calls it. An id that another
-- one of the list still has from the other cluster is left out. Answers where it came to; null at the end of the list.
CREATE FUNCTION dbsync.restamp_next(after bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fresh  xid8 := pg_current_xact_id();
    old    dbsync.restamp;
BEGIN
    SELECT * INTO old FROM dbsync.restamp r WHERE r.last_seq > after ORDER BY r.last_seq LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF EXISTS (SELECT FROM dbsync.restamp r WHERE r.xid = fresh) THEN
        RETURN after;
    END IF;
    UPDATE dbsync.change c SET xid = fresh WHERE c.xid = old.xid AND c.seq BETWEEN old.first_seq AND old.last_seq;
    DELETE FROM dbsync.restamp r WHERE r.last_seq = old.last_seq;
    RETURN old.last_seq;
END
$$;
REVOKE ALL ON FUNCTION dbsync.restamp_next(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbsync.restamp_next(bigint) TO dbsync_replicator;
