-- name: drop_known
-- A transaction of a tier below that only passes on what is here already, all of it; by whatever way it came. One of which a
-- part is missing is applied as it is: what is missing cannot be told from the rest of it.
WITH told AS MATERIALIZED (
    SELECT t.* FROM unnest(%(vias)s::bigint[], %(lineages)s::uuid[], %(transactions)s::bigint[], %(moments)s::timestamptz[])
        AS t(via, lineage, tx, moment)
),
here AS (
    SELECT DISTINCT span.lineage, had.tx, had.moment
    FROM (SELECT t.lineage, min(t.tx) AS first, max(t.tx) AS last FROM told t GROUP BY t.lineage) span
    CROSS JOIN LATERAL (
        SELECT r.transactions, r.moments FROM dbsync.receipt r
        WHERE r.lineage = span.lineage AND r.last_tx >= span.first AND r.first_tx <= span.last
        UNION ALL
        SELECT p.transactions, p.moments FROM dbsync.passed p
        WHERE p.lineage = span.lineage AND p.last_tx >= span.first AND p.first_tx <= span.last
    ) kept
    CROSS JOIN LATERAL unnest(kept.transactions, kept.moments) AS had(tx, moment)
)
DELETE FROM pg_temp.dbsync_stage s
USING (
    SELECT t.via
    FROM told t LEFT JOIN here h ON h.lineage = t.lineage AND h.tx = t.tx AND h.moment = t.moment
    GROUP BY t.via
    HAVING bool_and(h.tx IS NOT NULL)
) known
WHERE s.tx = known.via

-- name: record
-- What is staged still is applied now: the transactions it passes on are here from this moment on.
INSERT INTO dbsync.passed (node, incarnation, link, number, via, lineage, first_tx, last_tx, transactions, moments)
SELECT %(node)s, %(incarnation)s, %(link)s, %(number)s, t.via, t.lineage, min(t.tx), max(t.tx),
       array_agg(t.tx ORDER BY t.tx, t.moment), array_agg(t.moment ORDER BY t.tx, t.moment)
FROM unnest(%(vias)s::bigint[], %(lineages)s::uuid[], %(transactions)s::bigint[], %(moments)s::timestamptz[])
    AS t(via, lineage, tx, moment)
WHERE EXISTS (SELECT FROM pg_temp.dbsync_stage s WHERE s.tx = t.via AND s.seq = s.tx)
GROUP BY t.via, t.lineage

-- name: captured
-- What the triggers here have captured of the batch, by layout; within this transaction, by the index.
SELECT max(c.seq), (SELECT l.definition FROM dbsync.layout l WHERE l.id = c.layout LIMIT 1)
FROM dbsync.change c WHERE c.xid = pg_current_xact_id() GROUP BY c.layout

-- name: decided_otherwise
-- Whether some change of the batch lost against what is here; ``newest``: the ledger before the batch.
SELECT EXISTS (SELECT FROM dbsync.conflict c
               WHERE c.id > %(newest)s AND c.node = %(node)s AND c.incarnation = %(incarnation)s AND c.number = %(number)s
                 AND c.decision = 'upstream')

-- name: claim
-- The transaction is named by number and moment, not by its id: both outlive a reload, and whatever rewrites the log
-- (compaction) gives what tells more than it did another moment. Then the claim is void by itself.
UPDATE dbsync.receipt r SET tx = c.seq, moment = c.captured_at
FROM dbsync.change c
WHERE c.xid = pg_current_xact_id() AND c.seq = %(tx)s
  AND r.node = %(node)s AND r.incarnation = %(incarnation)s AND r.link = %(link)s AND r.number = %(number)s
