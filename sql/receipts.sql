-- name: take_turn
-- One writer a lineage at a time: a second service, one whose server has not noticed that it died, or a copy of the source
-- waits here, so that what it brings is compared with what is committed.
SELECT pg_advisory_xact_lock(hashtextextended('dbsync ' || %(lineage)s, 0))

-- name: last
-- Receipts of before links were told apart have none. Two looks at the end of an index: asked for both at once, the planner
-- sorts all receipts of the node.
SELECT r.number, r.hash, r.applied_at
FROM (VALUES (%(link)s::text), ('')) AS own (link)
CROSS JOIN LATERAL (
    SELECT r.number, r.hash, r.applied_at FROM dbsync.receipt r
    WHERE r.node = %(node)s AND r.incarnation = %(incarnation)s AND r.link = own.link
    ORDER BY r.number DESC LIMIT 1
) r
ORDER BY r.number DESC LIMIT 1

-- name: told
-- Each life and link of a node: from one to the next by the index, however many receipts there are.
told AS (
    (SELECT r.incarnation, r.link FROM dbsync.receipt r WHERE r.node = %(node)s ORDER BY r.incarnation, r.link LIMIT 1)
    UNION ALL
    SELECT other.* FROM told CROSS JOIN LATERAL (
        SELECT r.incarnation, r.link FROM dbsync.receipt r
        WHERE r.node = %(node)s AND (r.incarnation, r.link) > (told.incarnation, told.link)
        ORDER BY r.incarnation, r.link LIMIT 1) other
)

-- name: newest
-- Of each life and link of a node.
WITH RECURSIVE {told}
SELECT told.incarnation, told.link, last.number, last.hash, last.applied_at
FROM told CROSS JOIN LATERAL (
    SELECT r.number, r.hash, r.applied_at FROM dbsync.receipt r
    WHERE r.node = %(node)s AND r.incarnation = told.incarnation AND r.link = told.link ORDER BY r.number DESC LIMIT 1
) last

-- name: above
-- Up to which batch of that each tier above has everything: back from the newest one to the first whose transaction is acknowledged.
-- Batches of a node are applied one after the other, so those before it are as well.
SELECT l.name, (
    SELECT r.number FROM dbsync.receipt r
    WHERE r.node = %(node)s AND r.incarnation = %(incarnation)s AND r.link = %(link)s
      AND r.life = (SELECT n.incarnation FROM dbsync.node n)
      AND (coalesce(pg_visible_in_snapshot(r.xid, l.cursor), false)
           OR l.window_seq > 0 AND pg_visible_in_snapshot(r.xid, l.window_end)
              AND coalesce((SELECT max(c.seq) FROM dbsync.change c WHERE c.xid = r.xid), 0) <= l.window_seq)
    ORDER BY r.number DESC LIMIT 1)
FROM dbsync.link l
ORDER BY l.name

-- name: one
SELECT number, hash, applied_at FROM dbsync.receipt
WHERE node = %(node)s AND incarnation = %(incarnation)s AND link IN (%(link)s, '') AND number = %(number)s

-- name: surroundings
-- Of other names, lives, links and tiers: three looks at an index, not a walk through all receipts of the node. A planner that
-- expects to find one at once would walk: what is ordered, and begins with the lineage, only that index has.
SELECT coalesce(
    (SELECT true FROM dbsync.receipt r WHERE r.lineage = %(lineage)s
     AND (r.lineage, r.node, r.incarnation, r.link) < (%(lineage)s::uuid, %(node)s::text, %(incarnation)s::uuid, %(link)s::text)
     ORDER BY r.node, r.incarnation, r.link LIMIT 1),
    (SELECT true FROM dbsync.receipt r WHERE r.lineage = %(lineage)s
     AND (r.lineage, r.node, r.incarnation, r.link) > (%(lineage)s::uuid, %(node)s::text, %(incarnation)s::uuid, %(link)s::text)
     ORDER BY r.node, r.incarnation, r.link LIMIT 1),
    EXISTS (SELECT FROM dbsync.passed p WHERE p.lineage = %(lineage)s)),
    EXISTS (SELECT FROM dbsync.relation r WHERE r.mode = 'ship'),
    (SELECT coalesce(max(c.id), 0) FROM dbsync.conflict c),
    (SELECT o.number FROM dbsync.ended o WHERE o.node = %(node)s AND o.incarnation = %(incarnation)s AND o.link = %(link)s),
    (SELECT o.hash FROM dbsync.ended o WHERE o.node = %(node)s AND o.incarnation = %(incarnation)s AND o.link = %(link)s)

-- name: over
SELECT o.number, o.hash FROM dbsync.ended o
WHERE o.node = %(node)s AND o.incarnation = %(incarnation)s AND o.link = %(link)s

-- name: all_over
SELECT o.incarnation, o.link, o.number, o.at FROM dbsync.ended o
WHERE o.node = %(node)s AND o.parted_from IS NULL
ORDER BY o.incarnation, o.link

-- name: timeline
-- Whether another batch has this number in the life that a batch names, and that is not over; whether the batch follows what is
-- before it there; and to which timeline that parted from this life it belongs: the one that it follows.
SELECT own.number IS NOT NULL AND (own.changes, own.first_captured, own.last_captured)
           <> (%(changes)s::bigint, %(first_captured)s::timestamptz, %(last_captured)s::timestamptz)
       AND NOT EXISTS (SELECT FROM dbsync.ended o
                       WHERE o.node = one.node AND o.incarnation = one.incarnation AND o.link = one.link AND o.number >= one.number),
       coalesce(before.hash, '\x') = %(previous)s::bytea,
       CASE WHEN own.number IS NULL AND coalesce(before.hash, '\x') = %(previous)s::bytea THEN NULL ELSE (
           SELECT o.incarnation FROM dbsync.ended o
           WHERE o.node = one.node AND o.link = one.link AND o.parted_from = one.incarnation
             AND EXISTS (SELECT FROM dbsync.receipt r
                         WHERE r.node = o.node AND r.incarnation = o.incarnation AND r.link = o.link
                           AND r.number = one.number - 1 AND r.hash = %(previous)s::bytea)
           ORDER BY o.incarnation LIMIT 1) END
FROM (SELECT %(node)s::text, %(incarnation)s::uuid, %(link)s::text, %(number)s::bigint) one (node, incarnation, link, number)
LEFT JOIN dbsync.receipt own
  ON own.node = one.node AND own.incarnation = one.incarnation AND own.link = one.link AND own.number = one.number
LEFT JOIN dbsync.receipt before
  ON before.node = one.node AND before.incarnation = one.incarnation AND before.link = one.link AND before.number = one.number - 1

-- name: part
-- A life that begins behind a batch of another one.
INSERT INTO dbsync.ended (node, incarnation, link, number, hash, parted_from)
VALUES (%(node)s, %(beside)s, %(link)s, %(number)s - 1, %(previous)s, %(incarnation)s)
ON CONFLICT (node, incarnation, link) DO NOTHING

-- name: end_lives
INSERT INTO dbsync.ended AS o (node, incarnation, link, number, hash)
SELECT %(node)s, e.incarnation, %(link)s, e.number, e.hash
FROM unnest(%(incarnations)s::uuid[], %(numbers)s::bigint[], %(hashes)s::bytea[]) AS e(incarnation, number, hash)
ON CONFLICT (node, incarnation, link) DO UPDATE SET number = excluded.number, hash = excluded.hash, at = excluded.at
WHERE excluded.number > o.number

-- name: drop_applied
-- Whole transactions, wherever this batch or the other one was cut.
DELETE FROM pg_temp.dbsync_stage s
USING (
    SELECT e.tx
    FROM pg_temp.dbsync_stage e
    JOIN (
        SELECT here.tx, here.moment
        FROM (SELECT min(m.tx) AS first, max(m.tx) AS last FROM pg_temp.dbsync_stage m) staged
        CROSS JOIN LATERAL (
            SELECT r.transactions, r.moments FROM dbsync.receipt r
            WHERE r.lineage = %(lineage)s
              AND (r.node, r.incarnation, r.link) <> (%(node)s::text, %(incarnation)s::uuid, %(link)s::text)
              AND r.first_tx <= staged.last AND r.last_tx >= staged.first
            UNION ALL
            SELECT p.transactions, p.moments FROM dbsync.passed p
            WHERE p.lineage = %(lineage)s AND p.first_tx <= staged.last AND p.last_tx >= staged.first
        ) kept
        CROSS JOIN LATERAL unnest(kept.transactions, kept.moments) AS here(tx, moment)
    ) here ON here.tx = e.tx AND here.moment = e.captured_at
    WHERE e.seq = e.tx
) known
WHERE s.tx = known.tx

-- name: record
-- With the transactions that are staged, each by its last number and the moment of that change: what another life of the
-- same database, or another link of this one, brings again is known by them. None are staged where all came before.
INSERT INTO dbsync.receipt (node, lineage, incarnation, link, number, hash, changes, dropped, first_captured, last_captured,
                            first_tx, last_tx, transactions, moments, xid, life)
SELECT %(node)s, %(lineage)s, %(incarnation)s, %(link)s, %(number)s, %(hash)s, %(changes)s, %(dropped)s, %(first_captured)s,
       %(last_captured)s, min(e.tx), max(e.tx), array_agg(e.tx ORDER BY e.tx), array_agg(e.captured_at ORDER BY e.tx),
       pg_current_xact_id(), (SELECT n.incarnation FROM dbsync.node n)
FROM pg_temp.dbsync_stage e
WHERE e.seq = e.tx
RETURNING applied_at

-- name: note_dropped
UPDATE dbsync.receipt SET dropped = dropped + %(dropped)s
WHERE node = %(node)s AND incarnation = %(incarnation)s AND link = %(link)s AND number = %(number)s

-- name: note_retries
UPDATE dbsync.receipt SET retries = %(retries)s
WHERE node = %(node)s AND incarnation = %(incarnation)s AND link = %(link)s AND number = %(number)s

-- name: hold_stick
-- Two who bring in the same stick take turns, bundle by bundle of one node: the second finds what is here already. A lock of
-- the session: a bundle is many transactions.
SELECT pg_advisory_lock(hashtextextended('dbsync stick ' || %(node)s, 0))

-- name: let_go_of_stick
SELECT pg_advisory_unlock(hashtextextended('dbsync stick ' || %(node)s, 0))

-- name: try_turn
-- Who brings in what a broker has takes a node's turn only if nobody else does, be it from a stick. A worker that is stopped in the
-- middle of it, and neither works nor dies, loses its session and the turn with it.
SELECT t.taken, CASE WHEN t.taken THEN set_config('idle_session_timeout', %(lease)s, false) END
FROM (SELECT pg_try_advisory_lock(hashtextextended('dbsync stick ' || %(node)s, 0)) AS taken OFFSET 0) t

-- name: end_turn
SELECT pg_advisory_unlock(hashtextextended('dbsync stick ' || %(node)s, 0)), set_config('idle_session_timeout', '0', false)
