-- name: standing
-- What is here of one life of a node over one link, and how much of it waits for somebody.
SELECT r.number, r.hash, r.applied_at, r.lineage,
       (SELECT count(*) FROM dbsync.quarantine q WHERE q.lineage = r.lineage AND q.state = 'waiting')
FROM dbsync.receipt r
WHERE r.node = %(node)s AND r.incarnation = %(incarnation)s AND r.link = %(link)s
ORDER BY r.number DESC LIMIT 1

-- name: newest_life
-- The life and link of a node that was heard of last.
SELECT r.incarnation, r.link FROM dbsync.receipt r WHERE r.node = %(node)s ORDER BY r.applied_at DESC, r.number DESC LIMIT 1

-- name: acknowledged
-- The last batch of a link that has its receipt.
SELECT last_number FROM dbsync.link WHERE name = %(link)s

-- name: moment
-- Everything committed before this statement is seen by those after it.
SELECT clock_timestamp()
