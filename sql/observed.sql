-- What /metrics tells of a node's database, each cheap enough to be asked every few seconds.

-- name: node
SELECT n.name, n.capture_off_since IS NULL, n.paused_since IS NOT NULL, pg_total_relation_size('dbsync.change')
FROM dbsync.node n

-- name: link
SELECT l.state, extract(epoch FROM l.state_since)::float8, l.last_number, extract(epoch FROM s.acknowledged_at)::float8,
       extract(epoch FROM l.contact_at)::float8, l.clock_off,
       (SELECT coalesce(sum(q.value::bigint), 0) FROM jsonb_each_text(l.quarantined) q)::bigint
FROM dbsync.link l
LEFT JOIN dbsync.sent s ON s.link = l.name AND s.number = l.last_number
     AND s.incarnation = (SELECT n.incarnation FROM dbsync.node n)
WHERE l.name = %(link)s

-- name: waiting
-- By whose changes and by what is wrong; what waits is few rows of an index.
SELECT q.node, q.conflict, count(*), extract(epoch FROM clock_timestamp() - min(q.quarantined_at))::float8
FROM dbsync.quarantine q
WHERE q.state = 'waiting'
GROUP BY q.node, q.conflict

-- name: ledger
-- What came behind an entry, and how much of it up to another one. Numbers are drawn in another order than they are committed
-- in: an end that was seen holds for all that lies before it when every transaction of that moment has ended.
SELECT c.node, c.conflict, count(*) FILTER (WHERE c.id <= %(until)s), count(*), max(c.id),
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint
FROM dbsync.conflict c
WHERE c.id > %(after)s
GROUP BY c.node, c.conflict

-- name: peers
SELECT p.name, p.role, extract(epoch FROM p.seen_at)::float8
FROM dbsync.peer p
WHERE p.role <> 'upstream' AND p.enrolled_at IS NOT NULL AND p.revoked_at IS NULL AND p.seen_at IS NOT NULL

-- name: newest_batches
-- Of each node: from one to the next by the index, and so over its lives and links, however many receipts there are.
WITH RECURSIVE told AS (
    (SELECT r.node, r.incarnation, r.link FROM dbsync.receipt r ORDER BY r.node, r.incarnation, r.link LIMIT 1)
    UNION ALL
    SELECT other.* FROM told CROSS JOIN LATERAL (
        SELECT r.node, r.incarnation, r.link FROM dbsync.receipt r
        WHERE (r.node, r.incarnation, r.link) > (told.node, told.incarnation, told.link)
        ORDER BY r.node, r.incarnation, r.link LIMIT 1) other
)
SELECT told.node, extract(epoch FROM max(newest.applied_at))::float8
FROM told CROSS JOIN LATERAL (
    SELECT r.applied_at FROM dbsync.receipt r
    WHERE r.node = told.node AND r.incarnation = told.incarnation AND r.link = told.link
    ORDER BY r.number DESC LIMIT 1
) newest
GROUP BY told.node
