-- name: note
-- Only for what left and has no receipt: whatever else a relay may say is not kept.
INSERT INTO dbsync.custody (link, incarnation, number, relay, at, note, signature)
SELECT s.link, s.incarnation, s.number, %(relay)s, %(at)s, %(note)s, %(signature)s
FROM dbsync.sent s
WHERE s.link = %(link)s AND s.incarnation = %(incarnation)s AND s.number = %(number)s AND s.acknowledged_at IS NULL
ON CONFLICT (link, incarnation, number, relay) DO UPDATE
SET at = excluded.at, note = excluded.note, signature = excluded.signature

-- name: forget
-- Custody ends with the receipt.
DELETE FROM dbsync.custody c WHERE c.link = %(link)s AND NOT EXISTS (
    SELECT FROM dbsync.sent s WHERE s.link = c.link AND s.incarnation = c.incarnation AND s.number = c.number
    AND s.acknowledged_at IS NULL)

-- name: noted
SELECT c.number FROM dbsync.custody c WHERE c.link = %(link)s AND c.incarnation = %(incarnation)s AND c.relay = %(relay)s

-- name: standing
-- What is with whom, of what has no receipt. A batch that two have counts for each.
SELECT c.relay, count(*), sum(s.changes)::bigint, min(c.at), max(c.at)
FROM dbsync.custody c
JOIN dbsync.sent s ON s.link = c.link AND s.incarnation = c.incarnation AND s.number = c.number AND s.acknowledged_at IS NULL
WHERE c.link = %(link)s
GROUP BY c.relay
ORDER BY c.relay
