-- What dbsync itself remembers of a row that the application has deleted, and of rows that refer to it: taken out. A change that
-- waits, or that has no receipt, is never among it.

-- name: may_write
SELECT coalesce(pg_has_role(to_regrole('dbsync')::oid, 'USAGE'), false), current_user::text

-- name: runs_through
-- Keys of ``r`` that are the row's key, or run through it: in which tables, and from which leaf on, the registry says.
-- ``relation`` is the name of r's table, as schema.table.
EXISTS (SELECT FROM unnest(%(relations)s::text[], %(firsts)s::integer[]) AS t(relation, first)
        WHERE t.relation = {relation}
          AND r.key[t.first : t.first + cardinality(%(key)s::text[]) - 1] = %(key)s::text[])

-- name: case_about
({runs_through} OR (r.relation = %(relation)s AND r.old_key = %(key)s::text[])
    OR (r.awaits = %(relation)s AND r.awaits_key = %(key)s::text[])
    OR (%(relation)s || ' ' || %(key)s::text[]::text) = ANY (r.refers))

-- name: decided_cases
DELETE FROM dbsync.quarantine r WHERE r.state <> 'waiting' AND {about} RETURNING r.id::text, r.relation, r.key

-- name: waiting_cases
SELECT r.id::text, r.relation, r.key FROM dbsync.quarantine r WHERE r.state = 'waiting' AND {about} ORDER BY r.id

-- name: conflicts
-- One that a person is still to decide belongs to its case.
DELETE FROM dbsync.conflict r
WHERE {about}
  AND NOT EXISTS (SELECT FROM dbsync.quarantine q
                  WHERE q.state = 'waiting' AND q.node = r.node AND q.incarnation = r.incarnation AND q.number = r.number
                    AND q.tx = r.tx AND q.seq = r.seq)
RETURNING r.id::text, r.relation, r.key

-- name: differences
-- Of a comparison by stick that is under way nothing is taken: its next answer settles it.
DELETE FROM dbsync.difference r WHERE r.settled AND {about} RETURNING r.link, {relation}, r.key

-- name: whole_name
-- What is shown to people has no schema where that is public.
CASE WHEN position('.' IN r.relation) > 0 THEN r.relation ELSE 'public.' || r.relation END

-- name: lists
-- A checked box is signed as a whole, so it goes as a whole.
DELETE FROM dbsync.list l
WHERE (NOT l.own OR l.sent_at IS NOT NULL) AND position(to_json(%(value)s::text)::text IN convert_from(l.paper, 'UTF8')) > 0
RETURNING l.id::text

-- name: unsent_lists
SELECT l.id::text FROM dbsync.list l
WHERE l.own AND l.sent_at IS NULL AND position(to_json(%(value)s::text)::text IN convert_from(l.paper, 'UTF8')) > 0

-- name: deeds
-- Who did what stays written down; about whom does not.
UPDATE dbsync.audit a
SET command = regexp_replace(a.command, %(said)s, '\1(erased)', 'g'), result = regexp_replace(a.result, %(said)s, '\1(erased)', 'g')
WHERE a.command ~ %(said)s OR a.result ~ %(said)s
RETURNING a.id::text

-- name: logged
-- Changes in the log that hold all values of the key, wherever: what they are about is not asked, they stay anyway.
SELECT count(*) FROM dbsync.change c WHERE %(key)s::text[] <@ (c.image || c.old_image || c.refs || c.old_refs)

-- name: backfills
-- What a version before this one left of the last row; a backfill that is under way goes by it.
UPDATE dbsync.backfill b SET last_key = NULL WHERE b.finished_at IS NOT NULL AND b.last_key IS NOT NULL

-- name: write_down
INSERT INTO dbsync.audit (who, address, what, command, result, ended_at)
VALUES (coalesce(%(by)s::text, session_user), 'terminal', 'erase', %(command)s, %(result)s, clock_timestamp())
