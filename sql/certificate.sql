-- name: standing
-- What is here of one life of a node over one link, and how much of it waits for somebody.
SELECT r.number, r.hash, r.applied_at, r.lineage,
       (SELECT count(*) FROM dbsync.quarantine q WHERE q.lineage = r.lineage AND q.state = 'waiting')
FROM dbsync.receipt r
WHERE r.node = %(node)s AND r.incarnation = %(incarnation)s AND r.link = %(link)s
ORDER BY r.number DESC LIMIT 1

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

-- name: newest_life
-- The life and link of a node that was heard of last.
SELECT r.incarnation, r.link FROM dbsync.receipt r WHERE r.node = %(node)s ORDER BY r.applied_at DESC, r.number DESC LIMIT 1

-- name: moment
-- Everything committed before this statement is seen by those after it.
SELECT clock_timestamp()
