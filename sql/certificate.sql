-- name: standing
-- What is here of one life of a node over one link, and how much of it waits for somebody.
SELECT r.number, r.hash, r.applied_at, r.lineage,
       (SELECT count(*) FROM dbsync.quarantine q WHERE q.lineage = r.lineage AND q.state = 'waiting')
FROM dbsync.receipt r
WHERE r.node = %(node)s AND r.incarnation = %(incarnation)s AND r.link = %(link)s
ORDER BY r.number DESC LIMIT 1

-- name: newest_life
-- The life and link of a node that was heard of last. One that a later life has taken the place of is over: a stick of its time may
-- come years after, and what that brings was captured before what the later one has brought. Where both go on, one being a copy of the
-- other, neither is. One that parted from another (dbsync/apply/timelines.py) is of a past that the node does not know.
WITH RECURSIVE {told},
life AS (
    SELECT told.incarnation, told.link, first.applied_at AS begun, last.number, last.applied_at, last.last_captured
    FROM told
    CROSS JOIN LATERAL (
        SELECT r.applied_at FROM dbsync.receipt r
        WHERE r.node = %(node)s AND r.incarnation = told.incarnation AND r.link = told.link ORDER BY r.number LIMIT 1
    ) first
    CROSS JOIN LATERAL (
        SELECT r.number, r.applied_at, r.last_captured FROM dbsync.receipt r
        WHERE r.node = %(node)s AND r.incarnation = told.incarnation AND r.link = told.link ORDER BY r.number DESC LIMIT 1
    ) last
    WHERE NOT EXISTS (SELECT FROM dbsync.ended o WHERE o.node = %(node)s AND o.incarnation = told.incarnation AND o.link = told.link
                                                   AND o.parted_from IS NOT NULL)
)
SELECT l.incarnation, l.link FROM life l
ORDER BY EXISTS (SELECT FROM life later WHERE later.begun > l.begun AND later.begun < l.applied_at
                                          AND later.last_captured > l.last_captured),
         l.applied_at DESC, l.number DESC
LIMIT 1

-- name: acknowledged
-- The last batch of a link that has its receipt.
SELECT last_number FROM dbsync.link WHERE name = %(link)s

-- name: moment
-- Everything committed before this statement is seen by those after it.
SELECT clock_timestamp()
