-- name: begin_life
-- Once, though two services of one node may find out at the same time.
UPDATE dbsync.node SET incarnation = gen_random_uuid() WHERE incarnation = %(incarnation)s RETURNING incarnation

-- name: note_life
-- The life that ends now, up to the last batch that left: what had a receipt is to be upstream, and what had none is cut anew.
-- One whose hash nobody knows was never read to its end, and so is nowhere.
INSERT INTO dbsync.life (link, incarnation, number, hash, acknowledged, reached)
SELECT l.name, n.incarnation, coalesce(further.number, l.last_number), coalesce(further.hash, l.last_hash), l.last_number,
       further.last_seq
FROM dbsync.link l
CROSS JOIN dbsync.node n
LEFT JOIN LATERAL (
    SELECT s.number, s.hash, s.last_seq FROM dbsync.sent s
    WHERE s.link = l.name AND s.incarnation = n.incarnation AND s.number > l.last_number AND s.hash <> '\x'
    ORDER BY s.number DESC LIMIT 1
) further ON true
WHERE coalesce(further.number, l.last_number) > 0
ON CONFLICT (link, incarnation) DO NOTHING

-- name: tell_of_lives
-- That they are over. What the upstream lost of them and is not held any more is to be had from the rows as they are: a stick
-- of one of them that is found later would bring what has passed.
UPDATE dbsync.life SET told = true WHERE link = %(link)s

-- name: ended
SELECT e.incarnation, e.number, e.hash FROM dbsync.life e WHERE e.link = %(link)s AND e.told ORDER BY e.incarnation

-- name: number_anew
-- Every link's: numbers belong to the incarnation. How far each one is, stays.
UPDATE dbsync.link SET last_number = 0, last_hash = '\x'

-- name: set_aside
-- What was on its way under another incarnation: it is cut anew, and dropped upstream if it arrived.
-- It was the newest of its link.
DELETE FROM dbsync.sent s
USING dbsync.node n, dbsync.link l
CROSS JOIN LATERAL (
    SELECT coalesce((SELECT a.place FROM dbsync.sent a WHERE a.link = l.name AND a.acknowledged_at IS NOT NULL
                     ORDER BY a.place DESC LIMIT 1), 0) AS place
    OFFSET 0
) last
WHERE s.link = l.name AND s.place > last.place AND s.acknowledged_at IS NULL AND s.incarnation <> n.incarnation

-- name: forget_questions
-- Comparisons by stick: they are about batches of the life that ends, which may never arrive. They are asked anew.
UPDATE dbsync.comparison SET question = NULL, paper = NULL WHERE question IS NOT NULL

-- name: lives
-- The incarnations whose acknowledged batches are on record, in their order. Few, with very many batches: the index gives the
-- next one, and the ends of each.
WITH RECURSIVE life (incarnation) AS (
    (SELECT s.incarnation FROM dbsync.sent s WHERE s.link = %(link)s ORDER BY s.incarnation LIMIT 1)
    UNION ALL
    SELECT (SELECT s.incarnation FROM dbsync.sent s WHERE s.link = %(link)s AND s.incarnation > life.incarnation
            ORDER BY s.incarnation LIMIT 1)
    FROM life WHERE life.incarnation IS NOT NULL
)
SELECT life.incarnation, first.number, last.number
FROM life
CROSS JOIN LATERAL (
    SELECT s.number, s.place FROM dbsync.sent s
    WHERE s.link = %(link)s AND s.incarnation = life.incarnation AND s.acknowledged_at IS NOT NULL
    ORDER BY s.number LIMIT 1
) first
CROSS JOIN LATERAL (
    SELECT s.number FROM dbsync.sent s
    WHERE s.link = %(link)s AND s.incarnation = life.incarnation AND s.acknowledged_at IS NOT NULL
    ORDER BY s.number DESC LIMIT 1
) last
ORDER BY first.place

-- name: forgotten_lives
-- Those of which no acknowledged batch is on record any more, with the last that had a receipt; but for those of which the
-- upstream was told that they are over.
SELECT e.incarnation, e.acknowledged FROM dbsync.life e
WHERE e.link = %(link)s AND e.acknowledged > 0 AND NOT e.told
  AND NOT EXISTS (SELECT FROM dbsync.sent s
                  WHERE s.link = e.link AND s.incarnation = e.incarnation AND s.acknowledged_at IS NOT NULL)
ORDER BY e.incarnation

-- name: hash
SELECT hash FROM dbsync.sent
WHERE link = %(link)s AND incarnation = %(incarnation)s AND number = %(number)s AND acknowledged_at IS NOT NULL

-- name: hold_link
-- Nothing is purged, and nothing else is shipped over the link, until this transaction has gone back.
SELECT FROM dbsync.link WHERE name = %(link)s FOR UPDATE

-- name: way_back
-- The first batch on record from a number on, and what stands behind it: how many changes were acknowledged since, and how
-- many of those are still in the log.
SELECT t.number, t.place, s.last_number, s.changes, held.changes
FROM (
    SELECT s.* FROM dbsync.sent s
    WHERE s.link = %(link)s AND s.incarnation = %(incarnation)s AND s.number >= %(first)s AND s.acknowledged_at IS NOT NULL
    ORDER BY s.number LIMIT 1
) t
JOIN dbsync.link l ON l.name = t.link
CROSS JOIN LATERAL (
    SELECT max(s.number) AS last_number, sum(s.changes)::bigint AS changes
    FROM dbsync.sent s WHERE s.link = t.link AND s.place >= t.place AND s.acknowledged_at IS NOT NULL
) s
CROSS JOIN LATERAL (
    SELECT coalesce(sum(x.changes), 0)::bigint AS changes
    FROM (
        SELECT c.xid, max(c.seq) AS last_seq, count(*) AS changes
        FROM dbsync.change c
        WHERE c.xid >= coalesce(pg_snapshot_xmin(t.window_start), '0'::xid8)
        GROUP BY c.xid
    ) x
    WHERE (coalesce(pg_visible_in_snapshot(x.xid, l.cursor), false)
           OR l.window_seq > 0 AND x.last_seq <= l.window_seq AND pg_visible_in_snapshot(x.xid, l.window_end))
      AND NOT (coalesce(pg_visible_in_snapshot(x.xid, t.window_start), false)
               OR t.after_seq > 0 AND x.last_seq <= t.after_seq
                  AND pg_visible_in_snapshot(x.xid, coalesce(t.joint, t.window_end)))
) held

-- name: go_back
-- To where the link was before a batch was cut.
UPDATE dbsync.link l
SET cursor = s.window_start, window_seq = s.after_seq,
    window_end = CASE WHEN s.after_seq > 0 THEN coalesce(s.joint, s.window_end) END,
    last_number = %(number)s, last_hash = %(hash)s
FROM dbsync.sent s
WHERE l.name = %(link)s AND s.link = l.name AND s.place = %(place)s

-- name: send_again
-- The very same batches: a tier above this upstream knows the transactions it made of them, and would know neither half of one.
UPDATE dbsync.sent s
SET acknowledged_at = NULL, incarnation = n.incarnation, number = %(number)s + later.rank
FROM dbsync.node n,
     (SELECT b.place, row_number() OVER (ORDER BY b.place) AS rank
      FROM dbsync.sent b WHERE b.link = %(link)s AND b.place >= %(place)s) later
WHERE s.link = %(link)s AND s.place = later.place

-- name: forget_further
-- A batch is cut larger than it was: what was recorded behind it is cut anew.
DELETE FROM dbsync.sent s
WHERE s.link = %(link)s AND s.incarnation = %(incarnation)s AND s.number > %(number)s AND s.acknowledged_at IS NULL

-- name: forget_behind
DELETE FROM dbsync.sent WHERE link = %(link)s AND place >= %(place)s

-- name: record_event
INSERT INTO dbsync.event (kind, link, what, hint) VALUES (%(kind)s, %(link)s, %(what)s, %(hint)s)

-- name: events
SELECT at, kind, link, what, hint FROM dbsync.event WHERE at > now() - make_interval(days => %(days)s) ORDER BY id

-- name: reload_turn
SELECT pg_advisory_xact_lock(hashtextextended('dbsync reload', 0))

-- name: is_reloaded
SELECT n.system_identifier <> c.system_identifier FROM dbsync.node n CROSS JOIN pg_control_system() c

-- name: forget_restamps
DELETE FROM dbsync.restamp

-- name: sort_out
-- The transaction ids of a reloaded log and the links' snapshots were made in another cluster, and agree with each other
-- only. What was captured here has ids of this cluster, perhaps the same ones: it was written after the log's index was
-- made, the last thing a reload does to a table, and no id of it is still to come. What every link had acknowledged goes; a number that no link had reached
-- was never acknowledged, whatever an id seems to say. Of the rest, those need a new id whose old one is still to come in
-- this cluster, or has been given twice.
WITH origin AS (
    SELECT age(x.xmin) AS made FROM pg_index x WHERE x.indexrelid = 'dbsync.change_xid_seq'::regclass
),
transactions AS MATERIALIZED (
    SELECT c.xid, age(c.xmin) >= o.made OR c.xid >= pg_snapshot_xmax(pg_current_snapshot()) AS loaded, min(c.seq) AS first_seq, max(c.seq) AS last_seq, count(*) AS changes
    FROM dbsync.change c CROSS JOIN origin o
    GROUP BY 1, 2
),
acknowledged AS MATERIALIZED (
    SELECT t.* FROM transactions t
    WHERE t.loaded AND EXISTS (SELECT FROM dbsync.link) AND NOT EXISTS (
        SELECT FROM dbsync.link l
        WHERE NOT (t.last_seq <= l.reached_seq
                   AND (coalesce(pg_visible_in_snapshot(t.xid, l.cursor), false)
                        OR coalesce(l.window_seq > 0 AND t.last_seq <= l.window_seq
                                    AND pg_visible_in_snapshot(t.xid, l.window_end), false)))
    )
),
gone AS (
    DELETE FROM dbsync.change c USING acknowledged a WHERE c.xid = a.xid AND c.seq BETWEEN a.first_seq AND a.last_seq
),
listed AS (
    INSERT INTO dbsync.restamp (last_seq, first_seq, xid)
    SELECT t.last_seq, t.first_seq, t.xid
    FROM transactions t
    WHERE t.loaded AND NOT EXISTS (SELECT FROM acknowledged a WHERE a.last_seq = t.last_seq)
      AND (t.xid >= pg_snapshot_xmin(pg_current_snapshot())
           OR EXISTS (SELECT FROM transactions twin WHERE twin.xid = t.xid AND NOT twin.loaded))
)
SELECT coalesce(sum(t.changes), 0)::bigint FROM transactions t
WHERE NOT EXISTS (SELECT FROM acknowledged a WHERE a.last_seq = t.last_seq)

-- name: begin_anew
-- From the beginning of what is left; the upstream drops what only some of the links had acknowledged.
UPDATE dbsync.link SET cursor = NULL, window_end = NULL, window_seq = 0, last_number = 0, last_hash = '\x'

-- name: forget_sent
-- Their snapshots are the other cluster's.
DELETE FROM dbsync.sent

-- name: move_in
UPDATE dbsync.node
SET incarnation = gen_random_uuid(), system_identifier = (SELECT c.system_identifier FROM pg_control_system() c)

-- name: has_restamps
SELECT EXISTS (SELECT FROM dbsync.restamp)

-- name: restamp
-- In the order of the log, each transaction one of this cluster; a crash between any two goes on where it was. A few
-- thousand at a time: a server does not notice in the middle of a statement that its client is gone.
DO $$
DECLARE
    place bigint := -1;
BEGIN
    FOR turn IN 1..5000 LOOP
        place := dbsync.restamp_next(place);
        COMMIT;
        EXIT WHEN place IS NULL;
    END LOOP;
END
$$
