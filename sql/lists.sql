-- Boxes that were checked against the data.

-- name: keep
-- One that is here already stays as it is.
INSERT INTO dbsync.list (id, made_by, made_at, paper, signature, own)
VALUES (%(id)s, %(by)s, %(at)s, %(paper)s, %(signature)s, %(own)s)
ON CONFLICT (id) DO NOTHING

-- name: is_same
-- Whoever signs chooses the id: another's list may have it. What was kept under a name of before is its node's still.
SELECT paper = %(paper)s AND made_by IN (%(by)s, %(signed_as)s) FROM dbsync.list WHERE id = %(id)s

-- name: unsent
SELECT id, paper, signature FROM dbsync.list WHERE own AND sent_at IS NULL ORDER BY made_at LIMIT 100

-- name: sent
UPDATE dbsync.list SET sent_at = now() WHERE id = %(id)s

-- name: brought
-- Which of some lists of this node's own the upstream has.
SELECT id FROM dbsync.list WHERE id = ANY (%(ids)s) AND own AND sent_at IS NOT NULL

-- name: arrived
-- The upstream says that it has these.
UPDATE dbsync.list SET sent_at = now() WHERE id = ANY (%(ids)s) AND own AND sent_at IS NULL

-- name: of_node
-- What came of a node: more than it ever brings at once.
SELECT id FROM dbsync.list WHERE made_by = %(node)s AND NOT own ORDER BY kept_at DESC LIMIT 1000

-- name: newest
SELECT paper, kept_at, sent_at, own FROM dbsync.list ORDER BY made_at DESC LIMIT %(limit)s

-- name: one
-- By its id, or by the beginning of it that names no other.
SELECT paper, kept_at, sent_at, own FROM dbsync.list WHERE starts_with(id::text, %(id)s) LIMIT 2
