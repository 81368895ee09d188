-- name: register_node
-- The first installation names the node; later ones only learn the name it has.
WITH made AS (
    INSERT INTO dbsync.node (name, incarnation, lineage, system_identifier)
    SELECT %(name)s, life.id, life.id, c.system_identifier
    FROM pg_control_system() c CROSS JOIN (SELECT gen_random_uuid() AS id OFFSET 0) life
    ON CONFLICT (singleton) DO NOTHING
    RETURNING name
)
SELECT name FROM made UNION ALL SELECT name FROM dbsync.node LIMIT 1

-- name: database
-- One database that runs, among all: a copy of a cluster has the numbers of the first, and began to run at another time.
SELECT s.system_identifier, d.oid::bigint, pg_postmaster_start_time()
FROM pg_control_system() s, pg_database d
WHERE d.datname = current_database()

-- name: switch_capture
UPDATE dbsync.node
SET capture_off_since = CASE WHEN %(on)s THEN NULL ELSE coalesce(capture_off_since, now()) END
RETURNING capture_off_since

-- name: switch_shipping
UPDATE dbsync.node
SET paused_since = CASE WHEN %(on)s THEN NULL ELSE coalesce(paused_since, now()) END
RETURNING paused_since

-- name: claimed
-- Whether somebody has the link l now: the lock that the changelog's `claim` takes, in its two halves.
EXISTS (SELECT FROM pg_locks k CROSS JOIN (SELECT hashtextextended('dbsync link ' || l.name, 0) AS key) claim
        WHERE k.locktype = 'advisory' AND k.objsubid = 1 AND k.granted
          AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
          AND k.classid::bigint = (claim.key >> 32) & 4294967295 AND k.objid::bigint = claim.key & 4294967295)

-- name: links
SELECT l.name, l.state, l.state_since, l.reason, l.last_number, s.changes, s.acknowledged_at, l.contact_at,
       l.quarantined, l.clock_off, l.above, {claimed}
FROM dbsync.link l
LEFT JOIN dbsync.sent s ON s.link = l.name AND s.number = l.last_number
     AND s.incarnation = (SELECT n.incarnation FROM dbsync.node n)
ORDER BY l.name

-- name: held_upstream
-- Tables of which changes waited in quarantine upstream at the last contact.
SELECT q.key FROM dbsync.link l CROSS JOIN jsonb_each_text(l.quarantined) q WHERE l.name = %(link)s AND q.value::bigint > 0

-- name: relations
SELECT relation, mode FROM dbsync.relation ORDER BY relation

-- name: unacknowledged_anywhere
-- Changes of one table, or of all, that some link has no receipt for.
SELECT count(*)
FROM dbsync.change c
WHERE (%(relation)s::text IS NULL
       OR c.layout IN (SELECT y.id FROM dbsync.layout y WHERE y.relation = %(relation)s))
  AND (NOT EXISTS (SELECT FROM dbsync.link)
       OR EXISTS (SELECT FROM dbsync.link l
                  WHERE (l.cursor IS NULL OR NOT pg_visible_in_snapshot(c.xid, l.cursor))
                    AND NOT (l.window_seq > 0 AND pg_visible_in_snapshot(c.xid, l.window_end)
                             AND (SELECT max(m.seq) FROM dbsync.change m WHERE m.xid = c.xid) <= l.window_seq)))

-- name: waiting_here
-- Changes of other nodes that could not be applied in this very database.
SELECT count(*) FROM dbsync.quarantine q WHERE q.state = 'waiting'

-- name: captures_anything
SELECT EXISTS (SELECT FROM dbsync.relation r WHERE r.mode = 'ship')
