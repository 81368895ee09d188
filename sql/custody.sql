-- name: note
INSERT INTO dbsync.custody (link, incarnation, number, relay, at, note, signature)
VALUES (%(link)s, %(incarnation)s, %(number)s, %(relay)s, %(at)s, %(note)s, %(signature)s)
ON CONFLICT (link, incarnation, number, relay) DO UPDATE
SET at = excluded.at, note = excluded.note, signature = excluded.signature

-- name: forget
-- Custody ends with the receipt.
DELETE FROM dbsync.custody c WHERE c.link = %(link)s AND NOT EXISTS (
    SELECT FROM dbsync.sent s WHERE s.link = c.link AND s.incarnation = c.incarnation AND s.number = c.number
    AND s.acknowledged_at IS NULL)

-- name: standing
-- What is with whom, of what has no receipt. A batch that two have counts for each.
SELECT c.relay, count(*), sum(s.changes)::bigint, min(c.at), max(c.at)
FROM dbsync.custody c
JOIN dbsync.sent s ON s.link = c.link AND s.incarnation = c.incarnation AND s.number = c.number AND s.acknowledged_at IS NULL
WHERE c.link = %(link)s
GROUP BY c.relay
ORDER BY c.relay
