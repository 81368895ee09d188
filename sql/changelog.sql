-- name: session
-- The log may be long and its statistics old: whatever they say, a transaction's changes are found by the index. And the
-- other cores of a laptop belong to the application.
SELECT set_config('enable_seqscan', 'off', {passing}), set_config('enable_hashjoin', 'off', {passing}),
       set_config('enable_mergejoin', 'off', {passing}), set_config('jit', 'off', {passing}),
       set_config('work_mem', '32MB', {passing}), set_config('max_parallel_workers_per_gather', '0', {passing})

-- name: claim
-- One service a link at a time; the claim ends with the session.
SELECT set_config('lock_timeout', %(patience)s, true), pg_advisory_lock(hashtextextended('dbsync link ' || %(link)s, 0))

-- name: claim_for_a_word
-- Until the end of the transaction: who speaks of a link without having it must find it free.
SELECT set_config('lock_timeout', %(patience)s, true), pg_advisory_xact_lock(hashtextextended('dbsync link ' || %(link)s, 0))

-- name: make_window
-- One row a transaction of the window: what batches are cut from.
CREATE TEMP TABLE IF NOT EXISTS dbsync_window (
    xid xid8 NOT NULL, last_seq bigint PRIMARY KEY, changes bigint NOT NULL
)

-- name: clear_window
DELETE FROM pg_temp.dbsync_window

-- name: empty_window
-- For a window of many transactions; truncating a small one at every look would cost more than looking.
TRUNCATE pg_temp.dbsync_window

-- name: snapshot
SELECT pg_current_snapshot()::text

-- name: fill_window_from_beginning
INSERT INTO pg_temp.dbsync_window (xid, last_seq, changes)
SELECT c.xid, max(c.seq), count(*)
FROM dbsync.change c
WHERE c.xid < pg_snapshot_xmax(%(end)s::pg_snapshot)
  AND pg_visible_in_snapshot(c.xid, %(end)s::pg_snapshot)
GROUP BY c.xid
HAVING max(c.seq) > %(after)s

-- name: fill_window
-- PgQ's rule: visible now and not visible then. Those are the transactions that began since, and the ones that were
-- running then; each is a range or a point of the index, so an old transaction does not make us read the whole log.
INSERT INTO pg_temp.dbsync_window (xid, last_seq, changes)
SELECT c.xid, max(c.seq), count(*)
FROM (
    SELECT later.xid, later.seq
    FROM dbsync.change later
    WHERE later.xid >= pg_snapshot_xmax(%(start)s::pg_snapshot) AND later.xid < pg_snapshot_xmax(%(end)s::pg_snapshot)
    UNION ALL
    SELECT running.xid, running.seq
    FROM pg_snapshot_xip(%(start)s::pg_snapshot) AS x(xid) JOIN dbsync.change running ON running.xid = x.xid
) c
WHERE pg_visible_in_snapshot(c.xid, %(end)s::pg_snapshot)
GROUP BY c.xid
HAVING max(c.seq) > %(after)s

-- name: next_cut
-- Whole transactions in the order of their last seq, which is a valid serial order, until there are enough changes.
SELECT max(t.last_seq), count(*), sum(t.changes)::bigint,
       NOT EXISTS (SELECT FROM pg_temp.dbsync_window later WHERE later.last_seq > max(t.last_seq))
FROM (
    SELECT w.last_seq, w.changes, sum(w.changes) OVER (ORDER BY w.last_seq) - w.changes AS before
    FROM (
        SELECT last_seq, changes FROM pg_temp.dbsync_window WHERE last_seq > %(after)s
        ORDER BY last_seq LIMIT %(enough)s
    ) w
) t
WHERE t.before < %(enough)s

-- name: counts
-- OFFSET 0, here and below: each transaction's changes are looked up by its number. After a few huge transactions the planner
-- takes every one for huge and would rather walk through the whole log than look one up.
SELECT c.layout, c.op::text, count(*), count(*) FILTER (WHERE c.renames), min(c.captured_at), max(c.captured_at),
       max(c.stored), sum(c.stored)::bigint
FROM pg_temp.dbsync_window w
CROSS JOIN LATERAL (
    SELECT c.layout, c.op, c.renames, c.captured_at, {stored} AS stored FROM dbsync.change c WHERE c.xid = w.xid OFFSET 0
) c
WHERE w.last_seq > %(after)s AND w.last_seq <= %(last)s
GROUP BY c.layout, c.op
ORDER BY c.layout, c.op

-- name: passed
-- Which of a batch's transactions hold whole batches of other nodes, and the transactions of those: what came from the node
-- itself, and what it had passed on. Of one that holds a part, the part's name stands for the node's. One that was rewritten has
-- another moment, and is no longer what was claimed. At most so many that the header stays small; what is not told is applied
-- above like any change. A life that began with a restore tells beside it what won over other values here: the tier above has that
-- from the life before, beneath what came since, and applies it once more. Where it is not known what that was, all of it is. Of a part it
-- tells what it is a part of: the life before may have brought all of it.
SELECT told.via, told.lineage, told.whole, told.transactions, told.moments, told.kept
FROM (
    SELECT t.via, t.kept, t.lineage, t.whole, array_agg(t.tx ORDER BY t.tx, t.moment) AS transactions,
           array_agg(t.moment ORDER BY t.tx, t.moment) AS moments, sum(count(*)) OVER (ORDER BY t.via) AS so_far
    FROM (
        SELECT w.last_seq AS via, r.kept, held.lineage, CASE WHEN r.part IS NOT NULL AND r.another THEN r.lineage END AS whole, held.tx, held.moment
        FROM (SELECT r.*, n.incarnation <> n.lineage AS another, CASE WHEN n.incarnation = n.lineage THEN '{}' ELSE r.overruling END AS kept
              FROM dbsync.receipt r CROSS JOIN dbsync.node n WHERE r.tx > %(after)s AND r.tx <= %(last)s OFFSET 0) r
        JOIN pg_temp.dbsync_window w ON w.last_seq = r.tx
        JOIN dbsync.change c ON c.xid = w.xid AND c.seq = w.last_seq AND c.captured_at = r.moment
        CROSS JOIN LATERAL (
            SELECT coalesce(r.part, r.lineage) AS lineage, own.tx, own.moment
            FROM unnest(r.transactions, r.moments) AS own(tx, moment)
            WHERE r.part IS NOT NULL
               OR own.tx NOT IN (SELECT p.via FROM dbsync.passed p
                                 WHERE p.node = r.node AND p.incarnation = r.incarnation AND p.link = r.link
                                   AND p.number = r.number)
            UNION
            SELECT p.lineage, other.tx, other.moment
            FROM dbsync.passed p CROSS JOIN LATERAL unnest(p.transactions, p.moments) AS other(tx, moment)
            WHERE r.part IS NULL AND p.node = r.node AND p.incarnation = r.incarnation AND p.link = r.link AND p.number = r.number
        ) held
    ) t
    WHERE t.kept IS NOT NULL
    GROUP BY t.via, t.kept, t.lineage, t.whole
) told
WHERE told.so_far <= %(most)s
ORDER BY told.via, told.lineage

-- name: layouts
SELECT DISTINCT ON (l.id) l.id, l.definition FROM dbsync.layout l WHERE l.id = ANY (%(ids)s) ORDER BY l.id

-- name: many_transactions
SELECT w.last_seq, {columns}
FROM pg_temp.dbsync_window w CROSS JOIN LATERAL (SELECT c.* FROM dbsync.change c WHERE c.xid = w.xid OFFSET 0) c
WHERE w.last_seq > {after} AND w.last_seq <= {last}
ORDER BY w.last_seq, c.seq

-- name: one_transaction
-- Perhaps of millions of changes: the index gives its order, nothing is sorted or held.
SELECT {last}::bigint, {columns}
FROM dbsync.change c
WHERE c.xid = (SELECT w.xid FROM pg_temp.dbsync_window w WHERE w.last_seq = {last})
ORDER BY c.xid, c.seq

-- name: read
COPY ({changes}) TO STDOUT (FORMAT binary)

-- name: read_in_slices
-- The very bytes of read's tuples, cut into pieces: how many fields there are in 16 bits, then of each field its length in 32
-- bits, -1 for NULL, and what its type's send function gives. A change that is not large is one piece. Of a large one the two
-- images are made one after the other, each once, which is what OFFSET 0 is for, and never put together: a bytea ends at 1 GB.
-- The first of an image's pieces, before its beginning, is its length. Nothing is joined or sorted but the changes as they
-- are stored, so the pieces come in order.
COPY (
    SELECT CASE WHEN s.start > 0 THEN substring(s.sent FROM s.start FOR {size})
                ELSE s.lead || int4send(coalesce(octet_length(s.sent), -1)) END
    FROM (
        SELECT f.lead, f.sent,
               generate_series(CASE WHEN f.part IN (1, 2) THEN 1 - {size} ELSE 1 END, coalesce(octet_length(f.sent), 0), {size}) AS start
        FROM (
            SELECT p.part, CASE p.part WHEN 1 THEN p.head ELSE '' END AS lead,
                   CASE p.part WHEN 0 THEN p.head || {image} || {old_image} || p.tail
                               WHEN 1 THEN array_send(p.image) WHEN 2 THEN array_send(p.old_image) ELSE p.tail END AS sent
            FROM (
                SELECT t.*, generate_series(CASE WHEN t.large THEN 1 ELSE 0 END, CASE WHEN t.large THEN 3 ELSE 0 END) AS part
                FROM (
                    SELECT c.image, c.old_image, {stored} >= {large} AS large,
                           int2send(12::smallint) || int4send(8) || int8send(c.tx) || int4send(8) || int8send(c.seq)
                           || int4send(8) || timestamptz_send(c.captured_at) || int4send(8) || int8send(c.layout)
                           || int4send(1) || charsend(c.op) || int4send(1) || boolsend(c.renames) AS head,
                           {refs} || {old_refs} || {lost} || {origin} AS tail
                    FROM ({changes}) c(tx, seq, captured_at, layout, op, renames, image, old_image, refs, old_refs, lost, origin)
                    OFFSET 0
                ) t
            ) p
            OFFSET 0
        ) f
    ) s
) TO STDOUT (FORMAT binary)

-- name: framed
-- A field as COPY has it. What is sent is made twice, which is cheap where it is not large.
coalesce(int4send(octet_length({sent})) || {sent}, int4send(-1))

-- name: stored
-- How many bytes a change's values take in the log, mostly compressed; told without reading those that lie beside the row.
coalesce(pg_column_size(c.image), 0) + coalesce(pg_column_size(c.old_image), 0)
+ coalesce(pg_column_size(c.refs), 0) + coalesce(pg_column_size(c.old_refs), 0)

-- name: wire_columns
-- The local ids stay here: of a reference that gave no key only that it is lost is told.
c.seq, c.captured_at, c.layout, c.op, c.renames, c.image, c.old_image, c.refs, c.old_refs,
CASE WHEN c.unresolved IS NOT NULL THEN ARRAY(SELECT u IS NOT NULL FROM unnest(c.unresolved) u) END,
c.origin

-- name: unstitched
-- Few changes have any: the index of those says so, and not a walk through the log. A line without a layout says that a trigger's
-- statement is among them; most logs hold none, which one look into an empty index tells.
SELECT DISTINCT c.layout
FROM pg_temp.dbsync_window w
CROSS JOIN LATERAL (
    SELECT c.layout FROM dbsync.change c WHERE c.xid = w.xid AND c.unresolved IS NOT NULL AND c.unresolved <> '{}' OFFSET 0
) c
UNION ALL
SELECT NULL
WHERE EXISTS (SELECT FROM dbsync.change n WHERE n.depth IS NOT NULL)
  AND EXISTS (SELECT FROM pg_temp.dbsync_window w
              WHERE EXISTS (SELECT FROM dbsync.change n WHERE n.xid = w.xid AND n.depth IS NOT NULL OFFSET 0))

-- name: siblings
-- Layouts of the tables pointed to that occur beside unresolved references, in the same transactions.
SELECT DISTINCT p.layout
FROM (
    SELECT w.xid FROM pg_temp.dbsync_window w
    WHERE EXISTS (SELECT FROM dbsync.change c WHERE c.xid = w.xid AND c.unresolved IS NOT NULL AND c.unresolved <> '{}')
    OFFSET 0
) w
CROSS JOIN LATERAL (SELECT c.layout FROM dbsync.change c WHERE c.xid = w.xid OFFSET 0) p

-- name: make_siblings
-- Of transactions with references to be stitched: every change of a table pointed to, by its local id before and after, or by
-- what it holds in other columns that are referred to (``pointed_to``).
CREATE TEMP TABLE IF NOT EXISTS dbsync_sibling (
    xid xid8 NOT NULL, layout bigint NOT NULL, seq bigint NOT NULL, pointed_to text COLLATE "C" NOT NULL DEFAULT '',
    id_before text COLLATE "C" NOT NULL, id_after text COLLATE "C" NOT NULL
);
CREATE INDEX IF NOT EXISTS dbsync_sibling_before ON pg_temp.dbsync_sibling (xid, layout, id_before, seq);
CREATE INDEX IF NOT EXISTS dbsync_sibling_after ON pg_temp.dbsync_sibling (xid, layout, id_after, seq)

-- name: clear_siblings
TRUNCATE pg_temp.dbsync_sibling

-- name: fill_siblings
-- What those changes are found by: a search through the whole transaction for each would never end.
INSERT INTO pg_temp.dbsync_sibling (xid, layout, seq, id_before, id_after)
SELECT c.xid, c.layout, c.seq, CASE WHEN c.op = 'U' THEN coalesce(c.old_local_id, c.local_id) ELSE c.local_id END, c.local_id
FROM (
    SELECT w.xid FROM pg_temp.dbsync_window w
    WHERE EXISTS (SELECT FROM dbsync.change m WHERE m.xid = w.xid AND m.unresolved IS NOT NULL AND m.unresolved <> '{}')
    OFFSET 0
) w
CROSS JOIN LATERAL (SELECT c.* FROM dbsync.change c WHERE c.xid = w.xid OFFSET 0) c
WHERE c.layout = ANY (%(targets)s) AND c.local_id IS NOT NULL

-- name: fill_siblings_by
INSERT INTO pg_temp.dbsync_sibling (xid, layout, seq, pointed_to, id_before, id_after)
SELECT c.xid, c.layout, c.seq, {pointed_to}, coalesce(CASE WHEN c.op = 'U' THEN {before} ELSE {after} END, ''), coalesce({after}, '')
FROM (
    SELECT w.xid FROM pg_temp.dbsync_window w
    WHERE EXISTS (SELECT FROM dbsync.change m WHERE m.xid = w.xid AND m.unresolved IS NOT NULL AND m.unresolved <> '{{}}')
    OFFSET 0
) w
CROSS JOIN LATERAL (SELECT c.* FROM dbsync.change c WHERE c.xid = w.xid OFFSET 0) c
WHERE c.layout = {layout}

-- name: untold
-- The changes of a layout that one of their references was not told for; of a generic one those that point into one table.
SELECT m.xid, m.seq, m.op, m.unresolved[{place}] AS id
FROM pg_temp.dbsync_window w
CROSS JOIN LATERAL (
    SELECT m.xid, m.seq, m.op, m.layout, m.refs, m.unresolved FROM dbsync.change m
    WHERE m.xid = w.xid AND m.unresolved IS NOT NULL OFFSET 0
) m
WHERE m.layout = {layout} AND m.unresolved[{place}] IS NOT NULL {into}

-- name: told
-- The references of a change that are not told yet, without one that is.
CASE WHEN cardinality(array_remove(c.unresolved[:{place} - 1] || c.unresolved[{place} + 1:], NULL)) > 0
     THEN c.unresolved[:{place} - 1] || ARRAY[NULL::text] || c.unresolved[{place} + 1:] END

-- name: stitch
-- A reference whose target was not there at capture: a child deleted by a cascade after its parent, or inserted before it
-- under a deferred constraint. The parent's own change is in the same transaction and says the key it had: the next one
-- after the child tells the key before it, else the last one before the child tells the key after it, also where that one gave
-- the row another id (ON UPDATE CASCADE). Only, an insert after the child says nothing of the past: an id that was free again may
-- have been given to another row. A key of NULLs only would be that of no row.
UPDATE dbsync.change c
SET {column} = c.{column}[:{before}] || p.leaves || c.{column}[{behind}:],
    unresolved = {still_untold}
FROM (
    SELECT m.xid, m.seq, found.leaves
    FROM ({untold}) m
    CROSS JOIN LATERAL (
        SELECT CASE WHEN near.later AND t.op = 'U' THEN {old_leaves} ELSE {leaves} END AS leaves,
               t.unresolved IS NULL OR NOT {needs_refs} AS told
        FROM (
            (SELECT s.seq, true AS later FROM pg_temp.dbsync_sibling s
             WHERE s.xid = m.xid AND s.layout = {target_layout} AND s.pointed_to = {pointed_to} AND s.id_before = m.id AND s.seq > m.seq
             ORDER BY s.seq LIMIT 1)
            UNION ALL
            (SELECT s.seq, false FROM pg_temp.dbsync_sibling s
             WHERE s.xid = m.xid AND s.layout = {target_layout} AND s.pointed_to = {pointed_to} AND s.id_after = m.id AND s.seq < m.seq
             ORDER BY s.seq DESC LIMIT 1)
            UNION ALL
            (SELECT s.seq, false FROM pg_temp.dbsync_sibling s
             WHERE s.xid = m.xid AND s.layout = {target_layout} AND s.pointed_to = {pointed_to} AND s.id_before = m.id AND s.seq < m.seq
             ORDER BY s.seq DESC LIMIT 1)
        ) near
        CROSS JOIN LATERAL (SELECT t.* FROM dbsync.change t WHERE t.xid = m.xid AND t.seq = near.seq OFFSET 0) t
        ORDER BY near.later AND (t.op <> 'I' OR NOT ({is_past} OR m.op = 'D')) DESC, near.later, near.seq DESC
        LIMIT 1
    ) found
    WHERE found.told AND array_remove(found.leaves, NULL) <> '{{}}'
    OFFSET 0
) p
WHERE c.xid = p.xid AND c.seq = p.seq

-- name: stitch_row_key
-- The target is a row_id table: its UUID may have been given after the child was captured.
UPDATE dbsync.change c
SET {column} = c.{column}[:{before}] || p.row_key::text || c.{column}[{behind}:],
    unresolved = {still_untold}
FROM (
    SELECT m.xid, m.seq, k.row_key FROM ({untold}) m JOIN dbsync.row_key k ON k.relation = {relation} AND k.local_id = m.id
    OFFSET 0
) p
WHERE c.xid = p.xid AND c.seq = p.seq

-- name: name_gone_rows
INSERT INTO dbsync.row_key (relation, local_id, row_key)
SELECT {relation}, gone.id, gen_random_uuid()
FROM ({gone}) gone
ON CONFLICT (relation, local_id) DO NOTHING

-- name: lost_ids
SELECT DISTINCT m.id FROM ({untold}) m

-- name: gone_ids
SELECT g.identity, g.id FROM dbsync.gone_ids({relation}, {ids}) g

-- name: gone_row_key
-- The UUID that stands for a row which is gone, behind the key it had.
{key} || ARRAY(SELECT k.row_key::text FROM dbsync.row_key k WHERE k.relation = {relation} AND k.local_id = {id})

-- name: gone_key
-- The key that a gone row had, where that is the very id by which it is known, and another row may have it by now; else nobody knows.
-- The table is looked up in the catalog: to_regclass is an error for one who may not use the schema.
CASE WHEN EXISTS (SELECT FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
                  JOIN pg_index i ON i.indrelid = t.oid AND i.indisprimary
                  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
                  WHERE n.nspname = {schema} AND t.relname = {name} AND ARRAY[a.attname::text] = {columns})
     THEN coalesce(dbsync.key_of({relation}, m.id), ARRAY[{id}]) ELSE {unknown} END

-- name: pointed_into
SELECT DISTINCT c.refs[{table}] FROM ({untold}) m JOIN dbsync.change c ON c.xid = m.xid AND c.seq = m.seq

-- name: stitch_gone
-- What a generic reference pointed to is gone, and no change in its transaction tells the key it had. A key of nulls says nothing.
-- Which ids those are is asked once and looked up in an object: a join would be a nested loop, for nobody knows how many there are.
UPDATE dbsync.change c
SET refs = c.refs[:{before}] || p.key::text || c.refs[{behind}:],
    unresolved = {still_untold}
FROM (
    SELECT m.xid, m.seq, {key} AS key
    FROM (
        SELECT m.*, (SELECT jsonb_object_agg(g.identity, g.id) FROM ({gone}) g) ->> m.id AS gone FROM ({untold}) m OFFSET 0
    ) m
    OFFSET 0
) p
WHERE c.xid = p.xid AND c.seq = p.seq AND array_remove(p.key, NULL) <> '{{}}'

-- name: let_lost
-- A generic reference of which nothing is told: its empty key says so.
UPDATE dbsync.change c
SET unresolved = {still_untold}
FROM (SELECT m.xid, m.seq FROM ({untold}) m) m
WHERE c.xid = m.xid AND c.seq = m.seq

-- name: node
SELECT name, lineage, incarnation, system_identifier, capture_off_since, paused_since,
       (SELECT system_identifier FROM pg_control_system()) AS here, EXISTS (SELECT FROM dbsync.restamp) AS restamps
FROM dbsync.node

-- name: link
-- With whether anything that is captured here may have come from another node: most nodes have none below them. And with
-- whether there are lives of which the upstream is to be told that they are over.
SELECT cursor::text, window_end::text, window_seq, last_number, last_hash,
       EXISTS (SELECT FROM dbsync.receipt r WHERE r.tx IS NOT NULL),
       EXISTS (SELECT FROM dbsync.life e WHERE e.link = %(link)s AND e.told)
FROM dbsync.link WHERE name = %(link)s

-- name: open_link
INSERT INTO dbsync.link (name) VALUES (%(link)s) ON CONFLICT (name) DO NOTHING

-- name: unacknowledged
-- Behind the last number that has a receipt: the many that have one are not walked through.
SELECT s.number, s.window_start::text, s.window_end::text, s.joint::text, s.after_seq, s.last_seq, s.transactions, s.changes,
       s.hash
FROM dbsync.sent s
WHERE s.link = %(link)s AND s.incarnation = %(incarnation)s AND s.acknowledged_at IS NULL
  AND s.number > (SELECT l.last_number FROM dbsync.link l WHERE l.name = %(link)s)
ORDER BY s.number LIMIT %(most)s

-- name: record_cut
INSERT INTO dbsync.sent (link, incarnation, number, window_start, window_end, joint, after_seq, last_seq, transactions,
                         changes, counts, hash, first_captured, last_captured)
VALUES (%(link)s, %(incarnation)s, %(number)s, %(start)s::pg_snapshot, %(end)s::pg_snapshot, %(joint)s::pg_snapshot,
        %(after)s, %(last)s, %(transactions)s, %(changes)s, %(counts)s, '\x', %(first_captured)s, %(last_captured)s)
ON CONFLICT (link, incarnation, number) DO UPDATE
SET window_end = excluded.window_end, joint = excluded.joint, last_seq = excluded.last_seq, transactions = excluded.transactions,
    changes = excluded.changes, counts = excluded.counts, first_captured = excluded.first_captured,
    last_captured = excluded.last_captured, sent_at = now(),
    hash = CASE WHEN sent.last_seq = excluded.last_seq AND sent.window_end::text = excluded.window_end::text
           THEN sent.hash ELSE '\x' END

-- name: begin_batch
-- Only where the link still is where this batch begins: another service may have taken it on meanwhile, or found out that
-- this database lives another life and begun a new incarnation.
UPDATE dbsync.link SET window_end = %(end)s::pg_snapshot
WHERE name = %(link)s AND last_number = %(number)s - 1 AND window_seq = %(after)s
  AND cursor::text IS NOT DISTINCT FROM %(start)s AND coalesce(window_end::text, %(end)s) = %(end)s
  AND EXISTS (SELECT FROM dbsync.node n WHERE n.incarnation = %(incarnation)s)

-- name: begin_further
-- A batch that leaves before those before it have a receipt follows what is on record, and changes nothing of where the link
-- is. Nobody else moves that until the batch is on record itself.
SELECT FROM dbsync.link l
WHERE l.name = %(link)s AND l.last_number < %(number)s - 1
  AND EXISTS (SELECT FROM dbsync.sent s WHERE s.link = l.name AND s.incarnation = %(incarnation)s AND s.number = %(number)s - 1
                                          AND s.acknowledged_at IS NULL)
  AND EXISTS (SELECT FROM dbsync.node n WHERE n.incarnation = %(incarnation)s)
FOR UPDATE OF l

-- name: note_hash
UPDATE dbsync.sent SET hash = %(hash)s
WHERE link = %(link)s AND incarnation = %(incarnation)s AND number = %(number)s AND acknowledged_at IS NULL

-- name: reopen_window
-- Nothing of this window is upstream, and its first batch cannot be applied alone: a later snapshot reaches further.
UPDATE dbsync.link SET window_end = NULL WHERE name = %(link)s AND window_seq = 0

-- name: acknowledge
UPDATE dbsync.sent SET acknowledged_at = now(), hash = %(hash)s
WHERE link = %(link)s AND incarnation = %(incarnation)s AND number = %(number)s

-- name: advance
-- Once for each batch, though its receipt may come twice. A window that is shipped to its end is closed: its last snapshot
-- is the cursor from which the next one starts.
UPDATE dbsync.link
SET last_number = %(number)s, last_hash = %(hash)s, contact_at = now(),
    cursor = CASE WHEN %(ends)s THEN %(end)s::pg_snapshot ELSE cursor END,
    window_end = CASE WHEN NOT %(ends)s THEN %(end)s::pg_snapshot END,
    window_seq = CASE WHEN %(ends)s THEN 0 ELSE %(last)s END,
    reached_seq = greatest(reached_seq, %(last)s)
WHERE name = %(link)s AND last_number = %(number)s - 1
  AND EXISTS (SELECT FROM dbsync.node n WHERE n.incarnation = %(incarnation)s)

-- name: close_window
-- Nothing is left in it.
UPDATE dbsync.link
SET cursor = CASE WHEN window_seq > 0 THEN window_end ELSE cursor END, window_end = NULL, window_seq = 0
WHERE name = %(link)s AND window_end IS NOT NULL

-- name: set_state
-- A state that began at a moment which is yet to come, for the clock was put back, begins now: it would never have lasted.
UPDATE dbsync.link
SET state = %(state)s, reason = %(reason)s,
    state_since = CASE WHEN state = %(state)s THEN least(state_since, now()) ELSE now() END
WHERE name = %(link)s AND ((state, reason) IS DISTINCT FROM (%(state)s, %(reason)s) OR state_since > now())

-- name: note_waiting
-- And, once a minute, that the upstream was there; also where it was last by a clock that was put back since.
UPDATE dbsync.link SET quarantined = %(quarantined)s, above = %(above)s, contact_at = now()
WHERE name = %(link)s AND (quarantined <> %(quarantined)s OR above <> %(above)s
                           OR contact_at IS NULL OR contact_at NOT BETWEEN now() - interval '1 minute' AND now())

-- name: note_above
UPDATE dbsync.link SET above = %(above)s WHERE name = %(link)s AND above <> %(above)s

-- name: note_clock
UPDATE dbsync.link SET clock_off = %(off)s, contact_at = now() WHERE name = %(link)s
