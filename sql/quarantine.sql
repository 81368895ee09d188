-- What people ask of the quarantine and of the ledger of conflicts, and what they decide.

-- name: relations
-- The tables that patterns are matched against; a conflict's or a case's, by which table of ours is asked.
SELECT DISTINCT r.relation FROM {table} r

-- name: cases
-- Cases by what is asked for, newest first, each with the number of changes that wait behind it. What waits behind a case is
-- asked for by its id, and comes oldest first: that is the order in which it is applied.
SELECT q.id, q.state, q.node, q.number, q.relation, q.layout, q.op::text AS op, q.renames, q.key, q.old_key, q.conflict, q.reason,
       q.behind, q.awaits, q.awaits_key, q.awaits_column, q.captured_at, q.quarantined_at, q.attempts, q.tried_at,
       q.decided_at, q.decided_by, q.decision,
       (SELECT count(*) FROM dbsync.quarantine b WHERE b.behind = q.id AND b.state = 'waiting') AS waits,
       extract(epoch FROM clock_timestamp() - q.quarantined_at)::float8 AS age
FROM dbsync.quarantine q
WHERE (%(id)s::bigint IS NULL OR q.id = %(id)s)
  AND (%(behind)s::bigint IS NULL OR (q.behind = %(behind)s AND q.state = 'waiting'))
  AND (%(id)s::bigint IS NOT NULL OR %(behind)s::bigint IS NOT NULL OR %(all)s OR q.behind IS NULL)
  AND (%(state)s::text IS NULL OR q.state = %(state)s)
  AND (%(relations)s::text[] IS NULL OR q.relation = ANY (%(relations)s))
  AND (%(node)s::text IS NULL OR q.node = %(node)s)
  AND (%(conflict)s::text IS NULL OR q.conflict = %(conflict)s)
ORDER BY CASE WHEN %(behind)s::bigint IS NULL THEN -q.id ELSE q.id END
LIMIT %(limit)s::bigint

-- name: count_cases
-- Of the same kind: how many, and how many changes wait behind them.
SELECT count(*),
       coalesce(sum((SELECT count(*) FROM dbsync.quarantine b WHERE b.behind = q.id AND b.state = 'waiting')), 0)::bigint
FROM dbsync.quarantine q
WHERE q.behind IS NULL
  AND (%(state)s::text IS NULL OR q.state = %(state)s)
  AND (%(relations)s::text[] IS NULL OR q.relation = ANY (%(relations)s))
  AND (%(node)s::text IS NULL OR q.node = %(node)s)
  AND (%(conflict)s::text IS NULL OR q.conflict = %(conflict)s)

-- name: images
SELECT q.id, q.image, q.old_image, q.refs, q.old_refs,
       (SELECT l.definition FROM dbsync.layout l WHERE l.id = q.layout LIMIT 1)
FROM dbsync.quarantine q
WHERE q.id = ANY (%(ids)s)

-- name: waiting
-- Cases that can be tried again, of one node or of all.
SELECT q.id FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.behind IS NULL AND (%(node)s::text IS NULL OR q.node = %(node)s)
ORDER BY q.id

-- name: take_turn
-- Nobody applies a batch of this node meanwhile: else a change could still be put behind a case that is being decided.
SELECT pg_advisory_xact_lock(hashtextextended('dbsync ' || q.lineage, 0)) FROM dbsync.quarantine q WHERE q.id = %(id)s

-- name: skip
-- What a person decided stays as the ledger of it, with the values: they are nowhere else if the source loses them.
UPDATE dbsync.quarantine
SET state = 'skipped', decided_at = now(), decided_by = coalesce(%(by)s::text, session_user), decision = %(reason)s
WHERE id = %(id)s AND state = 'waiting' AND behind IS NULL
RETURNING id

-- name: free
-- What waited behind a case that is decided becomes cases of their own.
UPDATE dbsync.quarantine SET behind = NULL WHERE behind = %(id)s AND state = 'waiting' RETURNING id

-- name: conflicts
-- The ledger by what is asked for, newest first.
SELECT c.id, c.found_at, c.conflict, c.relation, c.key, c.node, c.number, c.captured_at, c.origin, c.rule, c.decision, c.columns,
       c.undone_at, c.undone_by, extract(epoch FROM clock_timestamp() - c.found_at)::float8 AS age
FROM dbsync.conflict c
WHERE (%(id)s::bigint IS NULL OR c.id = %(id)s)
  AND (%(relations)s::text[] IS NULL OR c.relation = ANY (%(relations)s))
  AND (%(node)s::text IS NULL OR c.node = %(node)s)
  AND (%(conflict)s::text IS NULL OR c.conflict = %(conflict)s)
  AND (%(since)s::timestamptz IS NULL OR c.found_at >= %(since)s)
ORDER BY c.id DESC
LIMIT %(limit)s::bigint

-- name: count_conflicts
SELECT count(*) FROM dbsync.conflict c
WHERE (%(relations)s::text[] IS NULL OR c.relation = ANY (%(relations)s))
  AND (%(node)s::text IS NULL OR c.node = %(node)s)
  AND (%(conflict)s::text IS NULL OR c.conflict = %(conflict)s)
  AND (%(since)s::timestamptz IS NULL OR c.found_at >= %(since)s)

-- name: conflict_images
SELECT c.source_image, c.upstream_image FROM dbsync.conflict c WHERE c.id = %(id)s

-- name: lock_conflict
-- Two people who undo the same at once do it once.
SELECT undone_at IS NOT NULL FROM dbsync.conflict WHERE id = %(id)s FOR UPDATE

-- name: wanted_by_both
-- What of a conflict's row is known, without its values.
SELECT ARRAY(SELECT jsonb_object_keys(c.source_image) WHERE c.source_image IS NOT NULL),
       ARRAY(SELECT jsonb_object_keys(c.upstream_image) WHERE c.upstream_image IS NOT NULL),
       ARRAY(SELECT jsonb_object_keys(c.row_id) WHERE c.row_id IS NOT NULL)
FROM dbsync.conflict c WHERE c.id = %(id)s

-- name: not_another
-- Of a table with key = "row_id": that the row is not known by another UUID than the conflict's.
NOT EXISTS (SELECT FROM dbsync.row_key k
            WHERE k.relation = c.relation AND k.local_id = {local_id} AND k.row_key::text IS DISTINCT FROM c.key[1])

-- name: mark_undone
UPDATE dbsync.conflict SET undone_at = now(), undone_by = coalesce(%(by)s::text, session_user) WHERE id = %(id)s

-- name: hold_row
-- The row that the winner left. Locked first: then nobody can refer to it, or change it, until it is decided.
SELECT count(*) FROM (
    SELECT FROM {table} t CROSS JOIN dbsync.conflict c WHERE c.id = {id} AND {same_row} FOR UPDATE OF t
) held

-- name: changed_since
-- Whether it still is as the winner left it.
SELECT count(*) FILTER (WHERE NOT ({as_left})) FROM {table} t CROSS JOIN dbsync.conflict c WHERE c.id = {id} AND {same_row}

-- name: count_as
-- Whether it holds what is wanted without anybody undoing it: somebody mended it by hand.
SELECT count(*) FROM {table} t CROSS JOIN dbsync.conflict c WHERE c.id = {id} AND {same_row} AND {as_wanted}

-- name: referring
-- Whether a row refers to it: deleting would cascade, or fail.
SELECT EXISTS (
    SELECT FROM {table} t CROSS JOIN dbsync.conflict c JOIN {child} x ON {refers} WHERE c.id = {id} AND {same_row}
)

-- name: undo_update
UPDATE {table} t SET {assignments} FROM dbsync.conflict c WHERE c.id = {id} AND {same_row}

-- name: undo_delete
DELETE FROM {table} t USING dbsync.conflict c WHERE c.id = {id} AND {same_row}

-- name: undo_insert
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {values} FROM dbsync.conflict c WHERE c.id = {id}

-- name: know_row
-- The row's UUID comes back with it, before it: a trigger of ours would give it another one.
INSERT INTO dbsync.row_key (relation, local_id, row_key)
SELECT c.relation, {local_id}, c.key[1]::uuid FROM dbsync.conflict c WHERE c.id = {id}
ON CONFLICT DO NOTHING

-- name: forget_row
DELETE FROM dbsync.row_key k USING dbsync.conflict c WHERE c.id = {id} AND k.relation = c.relation AND k.local_id = {local_id}
