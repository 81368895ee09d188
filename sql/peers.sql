-- name: peer_columns
p.name, p.role, p.lineage, p.passes_on, p.invited_at, p.invite_expires_at, p.enrolled_at, p.revoked_at, p.revoked_why,
p.seen_at, k.signing, k.sealing

-- name: peers
SELECT {columns} FROM dbsync.peer p LEFT JOIN dbsync.peer_key k ON k.peer = p.name AND k.until IS NULL
WHERE %(name)s::text IS NULL OR p.name = %(name)s
ORDER BY p.name

-- name: peer_of_key
SELECT {columns} FROM dbsync.peer_key k JOIN dbsync.peer p ON p.name = k.peer
WHERE k.key_id = %(key_id)s AND k.until IS NULL

-- name: sender_of_key
-- Whose bundle it is: also by a key that was rotated out since, for the stick was under way meanwhile; by none from before the
-- node was thrown out and let in anew.
SELECT {columns} FROM dbsync.peer_key k JOIN dbsync.peer p ON p.name = k.peer
WHERE k.key_id = %(key_id)s AND (k.until IS NULL OR k.until > p.enrolled_at)

-- name: invite
-- Once more for one that was invited and has not come, and for one that was revoked: it comes back with new keys.
INSERT INTO dbsync.peer AS p (name, role, passes_on, invite, invite_expires_at)
VALUES (%(name)s, %(role)s, %(passes_on)s, %(invite)s, clock_timestamp() + %(expires)s)
ON CONFLICT (name) DO UPDATE
SET role = excluded.role, passes_on = excluded.passes_on, invite = excluded.invite, invite_expires_at = excluded.invite_expires_at,
    invited_at = clock_timestamp()
WHERE p.role <> 'upstream' AND (p.enrolled_at IS NULL OR p.revoked_at IS NOT NULL)

-- name: use_invite
-- The row is locked: of two who come with one code at the same moment the second finds it used. Who comes back with a new
-- database may bring its changes. The code stays, for a node that did not hear the answer.
UPDATE dbsync.peer p
SET enrolled_at = clock_timestamp(), lineage = CASE WHEN p.revoked_at IS NULL THEN p.lineage END,
    revoked_at = NULL, revoked_why = NULL
WHERE p.name = %(name)s AND p.invite = %(invite)s AND p.invite_expires_at > clock_timestamp()
  AND (p.enrolled_at IS NULL OR p.enrolled_at < p.invited_at)

-- name: used_by
-- Whether somebody comes with his code a second time: the line broke before he heard that he is in.
SELECT EXISTS (
    SELECT FROM dbsync.peer p JOIN dbsync.peer_key k ON k.peer = p.name AND k.until IS NULL
    WHERE p.name = %(name)s AND p.invite = %(invite)s AND p.invite_expires_at > clock_timestamp() AND p.revoked_at IS NULL
      AND k.signing = %(signing)s AND k.sealing = %(sealing)s)

-- name: retire_keys
UPDATE dbsync.peer_key SET until = clock_timestamp() WHERE peer = %(name)s AND until IS NULL

-- name: had_others
SELECT EXISTS (SELECT FROM dbsync.peer_key WHERE peer = %(name)s AND until IS NOT NULL)

-- name: disown_keys
-- Who was thrown out and is let in anew comes with new keys, and none of before is its own, whatever the clock did meanwhile:
-- a stolen laptop has them still.
UPDATE dbsync.peer_key k SET until = least(k.until, p.enrolled_at) FROM dbsync.peer p WHERE p.name = k.peer AND p.name = %(name)s

-- name: add_key
INSERT INTO dbsync.peer_key (key_id, peer, signing, sealing) VALUES (%(key_id)s, %(name)s, %(signing)s, %(sealing)s)
ON CONFLICT (key_id) DO NOTHING

-- name: revoke
UPDATE dbsync.peer SET revoked_at = clock_timestamp(), revoked_why = %(why)s, invite = NULL
WHERE name = %(name)s AND revoked_at IS NULL

-- name: rename
-- Its checked boxes go along: a node hears of its own which are here, by the name that it has then.
WITH lists AS (UPDATE dbsync.list SET made_by = %(to)s WHERE made_by = %(name)s AND NOT own)
UPDATE dbsync.peer SET name = %(to)s WHERE name = %(name)s

-- name: was_called
-- Under that name it brought batches of its own database, which nobody else can.
SELECT EXISTS (SELECT FROM dbsync.receipt WHERE lineage = %(lineage)s AND node = %(name)s)

-- name: first_use
INSERT INTO dbsync.nonce (key_id, nonce) VALUES (%(key_id)s, %(nonce)s) ON CONFLICT DO NOTHING

-- name: forget_nonces
-- What is older would be refused for its age. A few at a time, and not those that another instance is about to forget.
DELETE FROM dbsync.nonce n
USING (SELECT o.key_id, o.nonce FROM dbsync.nonce o WHERE o.at < clock_timestamp() - %(late)s * 2
       ORDER BY o.at LIMIT 100 FOR UPDATE SKIP LOCKED) old
WHERE n.key_id = old.key_id AND n.nonce = old.nonce

-- name: note_seen
UPDATE dbsync.peer SET seen_at = clock_timestamp()
WHERE name = %(name)s AND (seen_at IS NULL OR seen_at < clock_timestamp() - interval '1 minute')

-- name: lineage_owner
SELECT p.name FROM dbsync.peer p WHERE p.lineage = %(lineage)s AND p.role <> 'upstream'

-- name: bind_lineage
UPDATE dbsync.peer p SET lineage = %(lineage)s
WHERE p.name = %(name)s AND p.lineage IS NULL
  AND NOT EXISTS (SELECT FROM dbsync.peer o WHERE o.lineage = %(lineage)s AND o.role <> 'upstream')

-- name: pin
-- Whoever enrols anew with one that was revoked believes it again.
INSERT INTO dbsync.peer AS p (name, role, enrolled_at) VALUES (%(name)s, %(role)s, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET enrolled_at = clock_timestamp(), revoked_at = NULL, revoked_why = NULL WHERE p.role = %(role)s
