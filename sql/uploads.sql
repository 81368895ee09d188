-- name: begin
INSERT INTO dbsync.upload (peer, id) VALUES (%(peer)s, %(id)s) ON CONFLICT DO NOTHING

-- name: grow
-- Only where the part follows what is there; of two who bring the same part at once one finds that it does not.
UPDATE dbsync.upload SET bytes = bytes + %(length)s, grown_at = clock_timestamp()
WHERE peer = %(peer)s AND id = %(id)s AND bytes = %(place)s

-- name: keep
INSERT INTO dbsync.upload_part (peer, id, place, data) VALUES (%(peer)s, %(id)s, %(place)s, %(data)s)

-- name: parts
SELECT p.data FROM dbsync.upload_part p WHERE p.peer = %(peer)s AND p.id = %(id)s ORDER BY p.place

-- name: remove
DELETE FROM dbsync.upload WHERE peer = %(peer)s AND id = %(id)s

-- name: remove_stale
-- What nobody went on with for a day is begun anew.
DELETE FROM dbsync.upload u
USING (SELECT o.peer, o.id FROM dbsync.upload o WHERE o.grown_at < clock_timestamp() - interval '1 day'
       LIMIT 10 FOR UPDATE SKIP LOCKED) old
WHERE u.peer = old.peer AND u.id = old.id

-- name: remove_crowd
-- What a node leaves behind is bounded, or one of them could fill the disk: those it went on with last stay.
DELETE FROM dbsync.upload u
USING (SELECT o.id FROM dbsync.upload o WHERE o.peer = %(peer)s AND o.id <> %(id)s
       ORDER BY o.grown_at DESC OFFSET %(most)s - 1) old
WHERE u.peer = %(peer)s AND u.id = old.id
