-- name: drop_known
-- A transaction of a tier below that only passes on what is here already, all of it; by whatever way it came. A part is here where
-- it is by its name, or all that it is a part of. One of which a part is missing is applied as it is: what is missing cannot be told from the rest of it. ``kept`` are changes that are to be
-- applied all the same: they won, below, over what was done there in between.
WITH told AS MATERIALIZED (
    SELECT t.via, t.lineage, t.tx, t.moment, places.name
    FROM unnest(%(vias)s::bigint[], %(lineages)s::uuid[], %(wholes)s::uuid[], %(transactions)s::bigint[], %(moments)s::timestamptz[])
        AS t(via, lineage, whole, tx, moment)
    CROSS JOIN LATERAL (VALUES (t.lineage), (t.whole)) AS places(name)
    WHERE places.name IS NOT NULL
),
here AS (
    SELECT DISTINCT span.name, had.tx, had.moment
    FROM (SELECT t.name, min(t.tx) AS first, max(t.tx) AS last FROM told t GROUP BY t.name) span
    CROSS JOIN LATERAL (
        SELECT r.transactions, r.moments FROM dbsync.receipt r
        WHERE r.lineage = span.name AND r.last_tx >= span.first AND r.first_tx <= span.last
        UNION ALL
        SELECT p.transactions, p.moments FROM dbsync.passed p
        WHERE p.lineage = span.name AND p.last_tx >= span.first AND p.first_tx <= span.last
    ) kept
    CROSS JOIN LATERAL unnest(kept.transactions, kept.moments) AS had(tx, moment)
)
DELETE FROM pg_temp.dbsync_stage s
USING (
    SELECT one.via
    FROM (
        SELECT t.via, bool_or(h.tx IS NOT NULL) AS is_here
        FROM told t LEFT JOIN here h ON h.name = t.name AND h.tx = t.tx AND h.moment = t.moment
        GROUP BY t.via, t.lineage, t.tx, t.moment
    ) one
    GROUP BY one.via
    HAVING bool_and(one.is_here)
) known
WHERE s.tx = known.via AND s.seq <> ALL (%(kept)s::bigint[])

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
SELECT c.layout, max(c.seq), (SELECT l.definition FROM dbsync.layout l WHERE l.id = c.layout LIMIT 1)
FROM dbsync.change c WHERE c.xid = pg_current_xact_id() GROUP BY c.layout

-- name: unwritten
-- Of some tables, what their triggers here would have captured: where those for insert (4), delete (8) and update (16) are there and
-- on, nothing of the table was written.
SELECT l.definition
FROM dbsync.relation r
JOIN pg_namespace n ON starts_with(r.relation, n.nspname || '.')
JOIN pg_class c ON c.relnamespace = n.oid AND r.relation = n.nspname || '.' || c.relname
CROSS JOIN LATERAL (SELECT l.definition FROM dbsync.layout l WHERE l.id = r.layout LIMIT 1) l
WHERE r.mode = 'ship' AND r.relation = ANY (%(relations)s)
  AND (SELECT bit_or(t.tgtype) & 28 = 28 FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
       WHERE t.tgrelid = c.oid AND p.pronamespace = 'dbsync'::regnamespace AND t.tgenabled IN ('O', 'A'))

-- name: claim
-- The transaction is named by number and moment, not by its id: both outlive a reload, and whatever rewrites the log
-- (compaction) gives what tells more than it did another moment. Then the claim is void by itself. Where something of the batch is
-- lacking in it (what is not passed on from here, waits in quarantine or lost against a row here; ``newest``: the ledger before the
-- batch), a name stands for just this part of it: once restored, this server makes the same of the same batch. It answers whether
-- something of these tables ever won over other values here; whether that is a row of this batch is not known yet.
UPDATE dbsync.receipt r
SET tx = c.seq, moment = c.captured_at,
    part = (SELECT md5(concat_ws(' ', r.lineage, n.lineage, string_agg(lacking.said, ' ' ORDER BY lacking.said COLLATE "C")))::uuid
            FROM (SELECT unnest(%(lacks)s::text[]) AS said
                  UNION ALL
                  SELECT format('held %%s %%s', q.tx, q.seq) FROM dbsync.quarantine q
                  WHERE %(held)s AND q.lineage = r.lineage AND q.state = 'waiting' AND q.node = r.node
                    AND q.incarnation = r.incarnation AND q.number = r.number
                  UNION ALL
                  SELECT format('lost %%s %%s', k.tx, k.seq) FROM dbsync.conflict k
                  WHERE k.id > %(newest)s AND k.node = r.node AND k.incarnation = r.incarnation AND k.number = r.number
                    AND k.decision = 'upstream') lacking
            CROSS JOIN dbsync.node n
            GROUP BY n.lineage),
    overruling = CASE WHEN NOT EXISTS (SELECT FROM dbsync.conflict k WHERE k.relation = ANY (%(relations)s) AND k.decision = 'source')
                      THEN '{}'::bigint[] END
FROM dbsync.change c
WHERE c.xid = pg_current_xact_id() AND c.seq = %(tx)s
  AND r.node = %(node)s AND r.incarnation = %(incarnation)s AND r.link = %(link)s AND r.number = %(number)s
RETURNING r.overruling IS NULL

-- name: own_keys
-- Captured changes of a layout, each by the key of its row as the change left it.
SELECT s.seq, {relation} AS relation, {key} AS key
FROM dbsync.change s WHERE s.xid = pg_current_xact_id() AND s.layout = {layout}

-- name: by_index
-- For the rest of the transaction. The planner knows nothing of what the batch has just captured and put into the ledger: it takes both
-- for a row or two, and would read all of the ledger for each of thousands.
SELECT set_config('enable_seqscan', 'off', true)

-- name: note_overruling
-- What won over other values here, now or before: the tier above may have that row otherwise since, so what comes after it goes up
-- with it. And what a trigger of the application did to tables that the batch does not have (``added``). Rows are found by the keys
-- that the ledger has; where one of this batch is not found, as it may be spelled otherwise, or where there are more than a header
-- is to hold, it stays unknown.
WITH captured AS MATERIALIZED ({captured}),
won AS (
    SELECT c.seq FROM captured c
    WHERE c.relation = ANY ({added}::text[])
       OR EXISTS (SELECT FROM (SELECT k.relation, k.decision FROM dbsync.conflict k WHERE k.key = c.key OFFSET 0) ever
                  WHERE ever.relation = c.relation AND ever.decision = 'source')
),
told AS (SELECT coalesce(array_agg(w.seq ORDER BY w.seq), '{{}}') AS seqs FROM won w)
UPDATE dbsync.receipt r
SET overruling = told.seqs
FROM told
WHERE r.node = {node} AND r.incarnation = {incarnation} AND r.link = {link} AND r.number = {number}
  AND cardinality(told.seqs) <= {most}
  AND NOT EXISTS (SELECT FROM dbsync.conflict k
                  WHERE k.id > {newest} AND k.node = {node} AND k.incarnation = {incarnation} AND k.number = {number}
                    AND k.decision = 'source'
                    AND (k.key IS NULL
                         OR (k.relation, k.key) NOT IN (SELECT c.relation, c.key FROM captured c WHERE c.key IS NOT NULL)))
