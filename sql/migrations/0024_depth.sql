-- What a trigger of the application does to the row it fires for is in the log before the change that fired it: the nested
-- statement's own end comes first. So the log says how deep a statement was, and whoever reads puts a transaction in its order.

-- In two steps, so that nothing is rewritten. An ordinary statement has none, and takes no more space than it did.
ALTER TABLE dbsync.change ADD COLUMN depth smallint;
ALTER TABLE dbsync.change ALTER COLUMN depth
    SET DEFAULT nullif(greatest(pg_catalog.pg_trigger_depth(), 1), 1);
COMMENT ON COLUMN dbsync.change.depth IS
    'How many triggers deep a statement was that a trigger of the application ran, from 2 on, as long as its place may be another; else null.';
GRANT SELECT (depth) ON dbsync.change TO dbsync_reader, dbsync_web;
CREATE INDEX change_depth ON dbsync.change (xid) WHERE depth IS NOT NULL;

-- Changes take each other's places within their transactions, so that the replicator needs no right to alter one. What a receipt
-- says of the transaction that holds its batch is said of the same changes afterwards. The transactions that are ``settled``
-- have no depth any more: they are in their order, and nobody looks at them twice.
CREATE FUNCTION dbsync.put_in_order(xids xid8[], seqs bigint[], places bigint[], settled xid8[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off
AS $$
DECLARE
    columns text;
    moved   bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('dbsync order', 0));
    IF cardinality(xids) > 0 THEN
        IF EXISTS (SELECT FROM unnest(xids, seqs) AS m(xid, seq) GROUP BY m.xid, m.seq HAVING count(*) > 1)
           OR EXISTS (SELECT m.xid, m.seq FROM unnest(xids, seqs) AS m(xid, seq)
                      EXCEPT SELECT m.xid, m.place FROM unnest(xids, places) AS m(xid, place))
           OR EXISTS (SELECT FROM unnest(xids, seqs) AS m(xid, seq)
                      WHERE NOT EXISTS (SELECT FROM dbsync.change c WHERE c.xid = m.xid AND c.seq = m.seq)) THEN
            RAISE EXCEPTION 'changes may only take each other''s places';
        END IF;
        -- A transaction is named by its last number and that change's moment, which is another one's afterwards.
        UPDATE dbsync.receipt r
        SET moment = (SELECT c.captured_at FROM dbsync.change c
                      WHERE c.xid = last.xid
                        AND c.seq = coalesce((SELECT m.seq FROM unnest(seqs, places) AS m(seq, place) WHERE m.place = last.seq), last.seq)),
            overruling = CASE WHEN cardinality(r.overruling) > 0 THEN ARRAY(
                SELECT coalesce(m.place, o.seq)
                FROM unnest(r.overruling) AS o(seq) LEFT JOIN unnest(seqs, places) AS m(seq, place) ON m.seq = o.seq
                ORDER BY 1) ELSE r.overruling END
        FROM (
            SELECT t.xid, found.seq, found.captured_at
            FROM (SELECT DISTINCT m.xid FROM unnest(xids) AS m(xid)) t
            CROSS JOIN LATERAL (
                SELECT c.seq, c.captured_at FROM dbsync.change c WHERE c.xid = t.xid ORDER BY c.xid DESC, c.seq DESC LIMIT 1
            ) found
            OFFSET 0
        ) last
        WHERE r.tx = last.seq AND r.moment = last.captured_at;

        SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) INTO columns
        FROM pg_attribute a
        WHERE a.attrelid = 'dbsync.change'::regclass AND a.attnum > 0 AND NOT a.attisdropped
          AND a.attname NOT IN ('seq', 'xid');
        EXECUTE format(
            'UPDATE dbsync.change c SET (%1$s) = ROW(%2$s)
             FROM unnest($1, $2, $3) AS m(xid, seq, place) JOIN dbsync.change s ON s.xid = m.xid AND s.seq = m.seq
             WHERE c.xid = m.xid AND c.seq = m.place',
            columns, regexp_replace(columns, '(^|, )', '\1s.', 'g'))
        USING xids, seqs, places;
        GET DIAGNOSTICS moved = ROW_COUNT;
    END IF;
    UPDATE dbsync.change c SET depth = NULL
    FROM unnest(settled) AS t(xid) WHERE c.xid = t.xid AND c.depth IS NOT NULL;
    RETURN moved;
END
$$;
COMMENT ON FUNCTION dbsync.put_in_order(xid8[], bigint[], bigint[], xid8[]) IS
    'Lets changes of a transaction take each other''s places, and marks transactions as being in their order.';
REVOKE ALL ON FUNCTION dbsync.put_in_order(xid8[], bigint[], bigint[], xid8[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbsync.put_in_order(xid8[], bigint[], bigint[], xid8[]) TO dbsync_replicator;
