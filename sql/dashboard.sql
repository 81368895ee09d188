-- What the pages ask. What grows with the years is asked by an index, and by time.

-- name: last_batches
-- The newest batch of each node: from one name to the next by the index, however many receipts there are.
WITH RECURSIVE heard AS (
    (SELECT r.node FROM dbsync.receipt r ORDER BY r.node LIMIT 1)
    UNION ALL
    SELECT other.node FROM heard CROSS JOIN LATERAL (
        SELECT r.node FROM dbsync.receipt r WHERE r.node > heard.node ORDER BY r.node LIMIT 1) other
)
SELECT heard.node, last.number, last.changes, last.applied_at,
       extract(epoch FROM last.applied_at - last.first_captured)::float8 AS lag
FROM heard CROSS JOIN LATERAL (
    SELECT r.number, r.changes, r.applied_at, r.first_captured FROM dbsync.receipt r
    WHERE r.node = heard.node ORDER BY r.applied_at DESC, r.number DESC LIMIT 1
) last

-- name: today
SELECT wanted.node, (SELECT coalesce(sum(r.changes), 0)::bigint FROM dbsync.receipt r
                     WHERE r.node = wanted.node AND r.applied_at >= current_date)
FROM unnest(%(nodes)s::text[]) wanted (node)

-- name: waiting
SELECT q.node, q.relation, count(*) FILTER (WHERE q.behind IS NULL) AS cases, count(*) FILTER (WHERE q.behind IS NOT NULL) AS behind
FROM dbsync.quarantine q
WHERE q.state = 'waiting'
GROUP BY q.node, q.relation
ORDER BY q.node, q.relation

-- name: is_installed
SELECT EXISTS (SELECT FROM dbsync.node)

-- name: now
SELECT clock_timestamp()

-- name: came
-- What nodes brought, step by step, and how old the oldest change was.
SELECT date_bin(%(step)s, r.applied_at, %(origin)s) AS begin, sum(r.changes)::bigint AS changes,
       max(extract(epoch FROM r.applied_at - r.first_captured))::float8 AS lag
FROM unnest(%(nodes)s::text[]) wanted (node)
JOIN dbsync.receipt r ON r.node = wanted.node AND r.applied_at >= %(since)s
GROUP BY 1

-- name: went
-- The same of what this node has receipts for, as far as its batches are kept.
SELECT date_bin(%(step)s, s.acknowledged_at, %(origin)s) AS begin, sum(s.changes)::bigint AS changes,
       max(extract(epoch FROM s.acknowledged_at - s.first_captured))::float8 AS lag
FROM (SELECT s.changes, s.acknowledged_at, s.first_captured FROM dbsync.sent s WHERE s.link = %(link)s
      ORDER BY s.place DESC LIMIT 100000) s
WHERE s.acknowledged_at >= %(since)s
GROUP BY 1

-- name: brought
-- Batches of one node, or of all, newest first.
SELECT r.node, r.number, r.incarnation, r.link, r.changes, r.dropped, r.retries, r.first_captured, r.last_captured, r.applied_at,
       encode(r.hash, 'hex') AS hash
FROM unnest(%(nodes)s::text[]) wanted (node)
CROSS JOIN LATERAL (
    SELECT x.* FROM dbsync.receipt x
    WHERE x.node = wanted.node AND (%(before)s::timestamptz IS NULL OR x.applied_at < %(before)s)
    ORDER BY x.applied_at DESC LIMIT %(limit)s
) r
ORDER BY r.applied_at DESC, r.node, r.number DESC
LIMIT %(limit)s

-- name: sent
SELECT s.number, s.incarnation, s.changes, s.transactions, s.first_captured, s.last_captured, s.sent_at, s.acknowledged_at,
       encode(s.hash, 'hex') AS hash, s.place,
       ARRAY(SELECT c.relay FROM dbsync.custody c WHERE c.link = s.link AND c.incarnation = s.incarnation AND c.number = s.number
             ORDER BY c.at) AS custody
FROM dbsync.sent s
WHERE s.link = %(link)s AND (%(before)s::bigint IS NULL OR s.place < %(before)s)
ORDER BY s.place DESC
LIMIT %(limit)s
