-- How long acknowledged changes are kept, and that the log does not grow by what left it.

-- The log is filled at one end and emptied at the other: what was deleted must be usable again long before a fifth of the
-- table (PostgreSQL's default) is dead, and without the pauses that are meant for tables whose readers wait.
ALTER TABLE dbsync.change SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.02,
    toast.autovacuum_vacuum_threshold = 20000, toast.autovacuum_vacuum_cost_delay = 0);
ALTER TABLE dbsync.sent SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
-- One row a link, rewritten with every batch: there is room on its page for all versions between two vacuums.
ALTER TABLE dbsync.link SET (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- What batches that are forgotten had shipped today, so that status can still say it.
CREATE TABLE dbsync.shipped (
    link      text NOT NULL REFERENCES dbsync.link ON DELETE CASCADE,
    day       date NOT NULL,
    relation  text COLLATE "C" NOT NULL,
    changes   bigint NOT NULL,
    PRIMARY KEY (link, day, relation)
);
COMMENT ON TABLE dbsync.shipped IS 'Changes shipped today in batches that dbsync.sent no longer holds.';
GRANT SELECT, INSERT, UPDATE, DELETE ON dbsync.shipped TO dbsync_replicator;
GRANT SELECT ON dbsync.shipped TO dbsync_reader;
GRANT SELECT ON SEQUENCE dbsync.change_seq_seq TO dbsync_replicator;

-- What the living changes take, their index entries with them, and those of them that a link has no receipt for; from a
-- sample of pages, for the file does not say: it keeps the space of what was deleted.
CREATE FUNCTION dbsync.living(of_link text, pages integer,
    OUT changes bigint, OUT bytes bigint, OUT waiting_changes bigint, OUT waiting_bytes bigint)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    scale float8 := greatest(pg_relation_size('dbsync.change') / 8192.0 / greatest(pages, 1), 1);
    seen  pg_snapshot := (SELECT l.cursor FROM dbsync.link l WHERE l.name = of_link);
BEGIN
    SELECT coalesce(count(*) * scale, 0)::bigint, coalesce(sum(d.bytes) * scale, 0)::bigint,
           coalesce(count(*) FILTER (WHERE d.waits) * scale, 0)::bigint,
           coalesce(sum(d.bytes) FILTER (WHERE d.waits) * scale, 0)::bigint
    INTO changes, bytes, waiting_changes, waiting_bytes
    FROM (
        SELECT pg_column_size(c.*) + 48 AS bytes, seen IS NULL OR NOT pg_visible_in_snapshot(c.xid, seen) AS waits
        FROM dbsync.change c TABLESAMPLE SYSTEM (100 / scale)
    ) d;
END
$$;

-- Compaction's two ways of writing into the log, so that the replicator needs no right to alter a change. A change may tell
-- nothing but what a later update of the same row has logged, and it may join a transaction that is in the log.
CREATE FUNCTION dbsync.tell(head_xids xid8[], head_seqs bigint[], told_xids xid8[], told_seqs bigint[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    told bigint;
BEGIN
    UPDATE dbsync.change c
    SET image = t.image, captured_at = CASE WHEN c.renames THEN c.captured_at ELSE t.captured_at END
    FROM unnest(head_xids, head_seqs, told_xids, told_seqs) AS f(head_xid, head_seq, told_xid, told_seq)
    JOIN dbsync.change t ON t.xid = f.told_xid AND t.seq = f.told_seq
    WHERE c.xid = f.head_xid AND c.seq = f.head_seq
      AND t.op = 'U' AND c.op <> 'D' AND c.seq < t.seq AND c.layout = t.layout AND c.local_id = t.local_id;
    GET DIAGNOSTICS told = ROW_COUNT;
    RETURN told;
END
$$;

CREATE FUNCTION dbsync.join_transactions(xids xid8[], into_xids xid8[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    joined bigint;
BEGIN
    UPDATE dbsync.change c SET xid = j.into_xid
    FROM unnest(xids, into_xids) AS j(xid, into_xid)
    WHERE c.xid = j.xid AND j.xid <> j.into_xid AND EXISTS (SELECT FROM dbsync.change t WHERE t.xid = j.into_xid);
    GET DIAGNOSTICS joined = ROW_COUNT;
    -- An upstream knows a transaction by its last number and that change's moment, and drops it when it comes again. One
    -- that tells more than it did must not be taken for what it was; changes of one moment stay changes of one moment.
    UPDATE dbsync.change c SET captured_at = c.captured_at + interval '1 microsecond'
    FROM (SELECT DISTINCT into_xid FROM unnest(into_xids) AS j(into_xid)) j
    CROSS JOIN LATERAL (
        SELECT m.captured_at FROM dbsync.change m WHERE m.xid = j.into_xid ORDER BY m.xid DESC, m.seq DESC LIMIT 1
    ) last
    WHERE c.xid = j.into_xid AND c.captured_at = last.captured_at;
    RETURN joined;
END
$$;

REVOKE ALL ON FUNCTION dbsync.living(text, integer), dbsync.tell(xid8[], bigint[], xid8[], bigint[]),
    dbsync.join_transactions(xid8[], xid8[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbsync.living(text, integer) TO dbsync_replicator, dbsync_reader;
GRANT EXECUTE ON FUNCTION dbsync.tell(xid8[], bigint[], xid8[], bigint[]), dbsync.join_transactions(xid8[], xid8[])
    TO dbsync_replicator;
