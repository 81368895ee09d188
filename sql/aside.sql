-- name: make_names
-- What a batch's changes are about, by key: made only where something waits or something is put aside. ``refers`` are the
-- rows that a change's references run through, ``former`` what was so before it; (arrival, place, seq) is the order in which the
-- changes came. The planner knows nothing of what was put aside a moment ago: indexes keep what it then chooses from walking
-- through all of it for each row.
CREATE TEMP TABLE IF NOT EXISTS dbsync_named (
    tx bigint NOT NULL, seq bigint NOT NULL, arrival bigint NOT NULL, place bigint NOT NULL,
    relation text COLLATE "C" NOT NULL, key text[] COLLATE "C", name text COLLATE "C", refers boolean NOT NULL,
    former boolean NOT NULL
) ON COMMIT {at_commit};
CREATE TEMP TABLE IF NOT EXISTS dbsync_accused (
    tx bigint NOT NULL, seq bigint NOT NULL, conflict text NOT NULL, reason text NOT NULL,
    awaits text, awaits_key text[], awaits_column text, behind bigint
) ON COMMIT {at_commit};
CREATE INDEX IF NOT EXISTS dbsync_named_change ON pg_temp.dbsync_named (tx, seq);
CREATE INDEX IF NOT EXISTS dbsync_named_name ON pg_temp.dbsync_named USING hash (name);
CREATE INDEX IF NOT EXISTS dbsync_named_place ON pg_temp.dbsync_named (place)

-- name: clear_names
DELETE FROM pg_temp.dbsync_named

-- name: clear_accused
DELETE FROM pg_temp.dbsync_accused

-- name: anything_waits
SELECT EXISTS (SELECT FROM dbsync.quarantine q WHERE q.lineage = %(lineage)s AND q.state = 'waiting')

-- name: arrival
SELECT nextval(pg_get_serial_sequence('dbsync.quarantine', 'id'))

-- name: name_rows
-- A change is about the row's key as it is after it, and as it was before a rename.
INSERT INTO pg_temp.dbsync_named (tx, seq, arrival, place, relation, key, name, refers, former)
SELECT s.tx, s.seq, coalesce(q.arrival, {arrival}), coalesce(q.tx, s.tx), {relation}, named.key,
       {relation} || ' ' || named.key::text, false, named.former
FROM pg_temp.dbsync_stage s
LEFT JOIN dbsync.quarantine q ON q.id = s.case_id
CROSS JOIN LATERAL (
    SELECT {key} AS key, false AS former UNION ALL SELECT {old_key}, true WHERE s.renames
) named
WHERE s.layout = {layout}

-- name: name_references
INSERT INTO pg_temp.dbsync_named (tx, seq, arrival, place, relation, key, name, refers, former)
SELECT s.tx, s.seq, coalesce(q.arrival, {arrival}), coalesce(q.tx, s.tx), named.relation, named.key,
       named.relation || ' ' || named.key::text, true, named.former
FROM pg_temp.dbsync_stage s
LEFT JOIN dbsync.quarantine q ON q.id = s.case_id
CROSS JOIN LATERAL (VALUES {references}) AS named (relation, key, former)
WHERE s.layout = {layout} AND named.relation IS NOT NULL AND array_to_string(named.key, '') <> ''

-- name: analyze_names
ANALYZE pg_temp.dbsync_named

-- name: accuse
INSERT INTO pg_temp.dbsync_accused (tx, seq, conflict, reason, awaits, awaits_key, awaits_column)
VALUES (%(tx)s, %(seq)s, %(conflict)s, %(reason)s, %(awaits)s, %(awaits_key)s, %(awaits_column)s)

-- name: accuse_many
-- Of a reference whose key was never told nobody can say when its row is there.
INSERT INTO pg_temp.dbsync_accused (tx, seq, conflict, reason, awaits, awaits_key)
SELECT a.tx, a.seq, a.conflict, a.reason, a.awaits, CASE WHEN array_remove(a.asked::text[], NULL) <> '{}' THEN a.asked::text[] END
FROM unnest(%(tx)s::bigint[], %(seq)s::bigint[], %(conflict)s::text[], %(reason)s::text[], %(awaits)s::text[], %(asked)s::text[])
     AS a (tx, seq, conflict, reason, awaits, asked)

-- name: say_what_is_missing
-- The key that a reference asked for is no secret: it is what a person needs to find the row.
UPDATE pg_temp.dbsync_accused a
SET reason = CASE WHEN a.awaits_key IS NULL OR array_to_string(a.awaits_key, '') = '' THEN a.reason
                  ELSE format('there is no %s (%s) upstream', regexp_replace(a.awaits, '^public\.', ''),
                              array_to_string(a.awaits_key, ', ', 'null')) END
WHERE a.conflict = 'reference_missing' AND a.awaits IS NOT NULL

-- name: accuse_layout
INSERT INTO pg_temp.dbsync_accused (tx, seq, conflict, reason, awaits, awaits_column)
SELECT s.tx, s.seq, %(conflict)s, %(reason)s, %(awaits)s, %(awaits_column)s
FROM pg_temp.dbsync_stage s
WHERE s.layout = %(layout)s AND s.op::text = ANY (%(ops)s) AND (%(place)s::int IS NULL OR s.image[%(place)s::int] IS NOT NULL)

-- name: accuse_all
INSERT INTO pg_temp.dbsync_accused (tx, seq, conflict, reason)
SELECT s.tx, s.seq, %(conflict)s, %(reason)s FROM pg_temp.dbsync_stage s WHERE {range} ORDER BY s.tx, s.seq LIMIT 1

-- name: accuse_the_first_that_says_so
-- Of a row's changes the last was found out, but an earlier one may be the one that brought the reference: from that one on
-- they are held, and what was before it goes in.
UPDATE pg_temp.dbsync_accused a
SET tx = found.tx, seq = found.seq
FROM (
    SELECT a.tx AS last_tx, a.seq AS last_seq, first.tx, first.seq
    FROM pg_temp.dbsync_accused a
    JOIN pg_temp.dbsync_stage l ON l.tx = a.tx AND l.seq = a.seq AND l.layout = {layout}
    JOIN pg_temp.dbsync_named n ON n.tx = a.tx AND n.seq = a.seq AND NOT n.refers
    CROSS JOIN LATERAL (
        SELECT s.tx, s.seq
        FROM pg_temp.dbsync_named m JOIN pg_temp.dbsync_stage s ON s.tx = m.tx AND s.seq = m.seq
        WHERE m.name = n.name AND NOT m.refers AND s.layout = l.layout AND s.op <> 'D'
          AND (s.tx, s.seq) < (l.tx, l.seq) AND s.refs[{first}:{last}] = l.refs[{first}:{last}] AND {range}
        ORDER BY s.tx, s.seq LIMIT 1
    ) first
    WHERE a.awaits = {awaits} AND a.conflict = 'reference_missing'
) found
WHERE a.tx = found.last_tx AND a.seq = found.last_seq

-- name: leave_the_first_of_each_row
-- Of several accused changes of one row the first is the cause: the others wait behind it.
DELETE FROM pg_temp.dbsync_accused a
USING pg_temp.dbsync_named own, pg_temp.dbsync_named same, pg_temp.dbsync_accused first
WHERE own.tx = a.tx AND own.seq = a.seq AND NOT own.refers
  AND same.name = own.name AND NOT same.refers AND (same.arrival, same.place, same.seq) < (own.arrival, own.place, own.seq)
  AND first.tx = same.tx AND first.seq = same.seq

-- name: put_behind_renames
-- What a statement does to rows below one that it renames, by a trigger or by WITH, is in the log before the rename, under the key of
-- after it. Such a change goes behind that statement's renames, unless the key was another row's, which left it in between, or was
-- deleted and took this one along.
WITH told AS MATERIALIZED (
    SELECT n.tx, n.name, n.refers, n.former, s.op, s.captured_at, s.place, s.renames AND NOT n.refers AND NOT n.former AS comes,
           NOT n.refers AND (n.former OR s.op = 'D') AS leaves,
           max(s.place) FILTER (WHERE s.renames) OVER (PARTITION BY s.tx, s.layout, s.captured_at) AS through
    FROM pg_temp.dbsync_named n JOIN pg_temp.dbsync_stage s ON s.tx = n.tx AND s.seq = n.seq
    WHERE n.tx IN (SELECT r.tx FROM pg_temp.dbsync_stage r WHERE r.renames)
),
early AS (
    SELECT e.tx, e.place, max(r.through) AS behind
    FROM told e JOIN told r ON r.tx = e.tx AND r.name = e.name AND r.comes AND r.place > e.place
    WHERE e.refers AND NOT e.former
      AND NOT EXISTS (SELECT FROM told l WHERE l.tx = e.tx AND l.name = e.name AND l.leaves AND l.place > e.place AND l.place <= r.through)
      AND NOT EXISTS (SELECT FROM told d WHERE d.tx = e.tx AND d.name = e.name AND d.place <= e.place AND d.leaves AND d.op = 'D'
                                           AND e.op = 'D' AND d.captured_at = e.captured_at)
    GROUP BY e.tx, e.place
),
ranked AS (
    SELECT s.place, s.tx, row_number() OVER (PARTITION BY s.tx ORDER BY s.place) AS old_rank,
           row_number() OVER (PARTITION BY s.tx ORDER BY coalesce(e.behind, s.place), e.behind IS NOT NULL, s.place) AS new_rank
    FROM pg_temp.dbsync_stage s LEFT JOIN early e ON e.tx = s.tx AND e.place = s.place
    WHERE s.tx IN (SELECT m.tx FROM early m)
)
UPDATE pg_temp.dbsync_stage s SET place = o.place
FROM ranked n JOIN ranked o ON o.tx = n.tx AND o.old_rank = n.new_rank
WHERE s.place = n.place AND o.place <> n.place

-- name: passes_through
-- Whether a row has a key in passing, inside of its transaction.
SELECT EXISTS (
    SELECT FROM pg_temp.dbsync_stage s
    JOIN pg_temp.dbsync_named leaves ON leaves.tx = s.tx AND leaves.seq = s.seq AND leaves.former AND NOT leaves.refers
    JOIN pg_temp.dbsync_named brings ON brings.tx = s.tx AND brings.seq < s.seq AND brings.name = leaves.name
         AND NOT brings.refers AND NOT brings.former
    JOIN pg_temp.dbsync_stage b ON b.tx = brings.tx AND b.seq = brings.seq AND (b.renames OR b.op = 'I')
    WHERE s.renames AND {range})

-- name: come_along
-- Whether a row that some changes refer to comes in the same span: it is new there, or has its key from a rename.
SELECT EXISTS (
    SELECT FROM unnest(%(tx)s::bigint[], %(seq)s::bigint[]) AS pointing (tx, seq)
    JOIN pg_temp.dbsync_named asks ON asks.tx = pointing.tx AND asks.seq = pointing.seq AND asks.refers
    JOIN pg_temp.dbsync_named brings ON brings.name = asks.name AND NOT brings.refers AND NOT brings.former
         AND (brings.tx, brings.seq) <> (asks.tx, asks.seq)
    JOIN pg_temp.dbsync_stage s ON s.tx = brings.tx AND s.seq = brings.seq
    WHERE (s.renames OR s.op IN ('I', 'B')) AND {range})

-- name: tables_of_accused
SELECT DISTINCT s.layout FROM pg_temp.dbsync_accused a JOIN pg_temp.dbsync_stage s ON s.tx = a.tx AND s.seq = a.seq

-- name: first_accused
SELECT a.tx, a.seq, a.conflict, a.reason, s.layout, s.op::text
FROM pg_temp.dbsync_accused a JOIN pg_temp.dbsync_stage s ON s.tx = a.tx AND s.seq = a.seq
WHERE s.layout = ANY (%(layouts)s) ORDER BY a.tx, a.seq LIMIT 1

-- name: hold
-- Into quarantine with what was found out, once each.
INSERT INTO dbsync.quarantine (node, lineage, incarnation, number, arrival, tx, seq, captured_at, relation, layout, op, renames,
                               image, old_image, refs, old_refs, lost, origin, key, old_key, refers, conflict, reason, behind,
                               awaits, awaits_key, awaits_column)
SELECT %(node)s, %(lineage)s, %(incarnation)s, %(number)s, n.arrival, n.place, s.seq, s.captured_at, n.relation, s.layout, s.op,
       s.renames, s.image, s.old_image, s.refs, s.old_refs, s.lost, s.origin, n.key::text[], n.old_key::text[], n.refers,
       a.conflict, a.reason, a.behind, a.awaits, a.awaits_key, a.awaits_column
FROM (SELECT DISTINCT ON (a.tx, a.seq) a.* FROM pg_temp.dbsync_accused a ORDER BY a.tx, a.seq, a.behind NULLS FIRST) a
JOIN pg_temp.dbsync_stage s ON s.tx = a.tx AND s.seq = a.seq AND s.case_id IS NULL
CROSS JOIN LATERAL (
    SELECT min(n.arrival) AS arrival, min(n.place) AS place, min(n.relation) FILTER (WHERE NOT n.refers) AS relation,
           max(n.key::text) FILTER (WHERE NOT n.refers AND NOT n.former) AS key,
           max(n.key::text) FILTER (WHERE NOT n.refers AND n.former) AS old_key,
           array_agg(n.name) FILTER (WHERE n.refers) AS refers
    FROM pg_temp.dbsync_named n WHERE n.tx = a.tx AND n.seq = a.seq
) n
ORDER BY s.tx, s.seq

-- name: hold_again
UPDATE dbsync.quarantine q
SET conflict = a.conflict, reason = a.reason, behind = a.behind, awaits = a.awaits, awaits_key = a.awaits_key,
    awaits_column = a.awaits_column, attempts = q.attempts + 1, tried_at = now()
FROM (SELECT DISTINCT ON (a.tx, a.seq) a.* FROM pg_temp.dbsync_accused a ORDER BY a.tx, a.seq, a.behind NULLS FIRST) a
JOIN pg_temp.dbsync_stage s ON s.tx = a.tx AND s.seq = a.seq
WHERE q.id = s.case_id

-- name: take_held_out
DELETE FROM pg_temp.dbsync_stage s USING pg_temp.dbsync_accused a WHERE s.tx = a.tx AND s.seq = a.seq

-- name: accuse_dependents
-- What depends on a change that waits, and came after it: another change of the same row, a change that refers to a row
-- which is not there yet or has not its key yet, and the rest of a transaction that is to stay whole. A case that is being
-- tried again stands in the stage and does not wait now.
-- And a row must be neither renamed nor deleted while a change that refers to it by its key waits; nor be left with a key that
-- it had only for a moment, inside of its transaction: another node may use the same one in passing.
-- Of the changes that stop others by one name the earliest is enough.
INSERT INTO pg_temp.dbsync_accused (tx, seq, conflict, reason, behind)
WITH waiting AS MATERIALIZED (
    SELECT coalesce(q.behind, q.id) AS id, q.arrival, q.tx AS place, q.seq, q.relation || ' ' || q.key::text AS name,
           q.relation || ' ' || q.old_key::text AS old_name, q.refers,
           q.op <> 'U' OR q.renames OR q.conflict = 'update_missing' AS makes_the_key
    FROM dbsync.quarantine q
    WHERE q.lineage = %(lineage)s AND q.state = 'waiting' AND (q.id > %(since)s OR (q.attempts > 1 AND q.tried_at = now()))
      AND q.id NOT IN (SELECT again.case_id FROM pg_temp.dbsync_stage again WHERE again.case_id IS NOT NULL)
),
stopping AS (
    SELECT DISTINCT ON (stops.name, stops.referring, stops.leaving) stops.*, w.id, w.arrival, w.place, w.seq
    FROM waiting w
    CROSS JOIN LATERAL (
        SELECT own.name, referring, false AS leaving
        FROM (VALUES (w.name), (w.old_name)) AS own (name), (VALUES (false), (w.makes_the_key)) AS also (referring)
        UNION ALL
        SELECT referred, false, true FROM unnest(w.refers) AS referred
    ) stops
    WHERE stops.name IS NOT NULL
    ORDER BY stops.name, stops.referring, stops.leaving, w.arrival, w.place, w.seq
)
SELECT DISTINCT ON (s.tx, s.seq) s.tx, s.seq, 'waits', 'it depends on case ' || d.id, d.id
FROM (
    SELECT n.tx, n.seq, w.leaving AND NOT n.former AS if_it_leaves, false AS if_it_comes, w.id, w.arrival, w.place,
           w.seq AS case_seq
    FROM stopping w
    JOIN pg_temp.dbsync_named n ON n.name = w.name AND n.refers = w.referring
         AND (w.arrival, w.place, w.seq) < (n.arrival, n.place, n.seq)
    UNION ALL
    SELECT n.tx, n.seq, false, true, w.id, w.arrival, w.place, w.seq
    FROM waiting w
    JOIN pg_temp.dbsync_named n ON n.name = w.old_name AND NOT n.refers AND NOT n.former
         AND n.arrival = w.arrival AND n.place = w.place AND n.seq < w.seq
) d
JOIN pg_temp.dbsync_stage s ON s.tx = d.tx AND s.seq = d.seq
WHERE (NOT d.if_it_leaves OR s.op = 'D') AND (NOT d.if_it_comes OR s.renames OR s.op = 'I')
ORDER BY s.tx, s.seq, d.arrival, d.place, d.case_seq

-- name: accuse_companions
INSERT INTO pg_temp.dbsync_accused (tx, seq, conflict, reason, behind)
SELECT DISTINCT ON (s.tx, s.seq) s.tx, s.seq, 'waits', 'its transaction waits with case ' || w.id, w.id
FROM (
    SELECT DISTINCT ON (q.arrival, q.tx, together) q.arrival, q.tx AS place, q.seq, coalesce(q.behind, q.id) AS id, together
    FROM dbsync.quarantine q CROSS JOIN LATERAL (SELECT q.relation = ANY (%(together)s) AS together) rule
    WHERE q.lineage = %(lineage)s AND q.state = 'waiting' AND (q.id > %(since)s OR (q.attempts > 1 AND q.tried_at = now()))
      AND q.id NOT IN (SELECT again.case_id FROM pg_temp.dbsync_stage again WHERE again.case_id IS NOT NULL)
    ORDER BY q.arrival, q.tx, together, q.seq
) w
JOIN pg_temp.dbsync_named n ON n.arrival = w.arrival AND n.place = w.place AND NOT n.refers
JOIN pg_temp.dbsync_stage s ON s.tx = n.tx AND s.seq = n.seq
WHERE w.together OR s.tx = ANY (%(whole)s)
ORDER BY s.tx, s.seq, w.seq

-- name: settle_causes
-- A change that misses a row which itself waits is no case of its own. Both are gathered by the row's name: the newest change
-- that makes it is the cause.
UPDATE dbsync.quarantine q
SET conflict = 'waits', behind = cause.id, reason = 'it depends on case ' || cause.id
FROM (
    SELECT asks.id AS waiting,
           (SELECT made.id FROM unnest(told.made_by) WITH ORDINALITY AS made (id, place)
            WHERE made.id <> asks.id ORDER BY made.place LIMIT 1) AS id
    FROM (
        SELECT array_agg(said.id ORDER BY said.arrival DESC, said.tx DESC, said.seq DESC) FILTER (WHERE NOT said.asks) AS made_by,
               array_agg(said.id) FILTER (WHERE said.asks) AS asked_by
        FROM (
            SELECT c.relation, c.key, false AS asks, coalesce(c.behind, c.id) AS id, c.arrival, c.tx, c.seq
            FROM dbsync.quarantine c
            WHERE c.lineage = %(lineage)s AND c.state = 'waiting'
              AND (c.op <> 'U' OR c.renames OR c.conflict = 'update_missing')
              AND c.id NOT IN (SELECT again.case_id FROM pg_temp.dbsync_stage again WHERE again.case_id IS NOT NULL)
            UNION ALL
            SELECT q.awaits, q.awaits_key, true, q.id, NULL, NULL, NULL
            FROM dbsync.quarantine q
            WHERE q.lineage = %(lineage)s AND q.state = 'waiting' AND q.conflict = 'reference_missing' AND q.behind IS NULL
              AND (q.id > %(since)s OR (q.attempts > 1 AND q.tried_at = now()))
        ) said
        GROUP BY said.relation, said.key
        HAVING bool_or(said.asks) AND NOT bool_and(said.asks)
    ) told
    CROSS JOIN LATERAL unnest(told.asked_by) AS asks (id)
) cause
WHERE q.id = cause.waiting AND cause.id IS NOT NULL

-- name: settle_heads
-- Of a chain of such causes, all wait behind its head: only what waits behind a case itself is tried again with it.
WITH RECURSIVE chain AS (
    SELECT q.id, q.behind FROM dbsync.quarantine q
    WHERE q.lineage = %(lineage)s AND q.state = 'waiting' AND q.behind IS NOT NULL
      AND (q.id > %(since)s OR (q.attempts > 1 AND q.tried_at = now()))
    UNION
    SELECT c.id, above.behind FROM chain c JOIN dbsync.quarantine above ON above.id = c.behind
    WHERE above.state = 'waiting' AND above.behind IS NOT NULL
)
UPDATE dbsync.quarantine q
SET behind = head.id, reason = 'it depends on case ' || head.id
FROM chain c JOIN dbsync.quarantine head ON head.id = c.behind AND head.behind IS NULL
WHERE q.id = c.id AND q.behind <> head.id

-- name: newest_case
SELECT coalesce(max(q.id), 0) FROM dbsync.quarantine q

-- name: note_layout
INSERT INTO dbsync.layout (id, relation, definition)
SELECT %(id)s, %(relation)s, %(definition)s WHERE NOT EXISTS (SELECT FROM dbsync.layout l WHERE l.id = %(id)s)

-- name: layouts
SELECT DISTINCT ON (l.id) l.id, l.definition FROM dbsync.layout l WHERE l.id = ANY (%(ids)s) ORDER BY l.id

-- name: newest_staged
SELECT coalesce(max(s.place), 0) FROM pg_temp.dbsync_stage s

-- name: stage_undecided
-- Conflicts that a person is to decide, and that were found just now: staged once more, for the ledger only.
INSERT INTO pg_temp.dbsync_stage (tx, seq, captured_at, layout, op, renames, image, old_image, refs, old_refs, lost, origin, case_id)
SELECT q.tx, q.seq, q.captured_at, q.layout, q.op, q.renames, q.image, q.old_image, q.refs, q.old_refs, q.lost, q.origin, q.id
FROM dbsync.quarantine q
WHERE q.lineage = %(lineage)s AND q.state = 'waiting' AND q.tried_at = now() AND q.conflict = ANY (%(conflicts)s)
  AND NOT EXISTS (SELECT FROM dbsync.conflict c WHERE c.node = q.node AND c.incarnation = q.incarnation AND c.number = q.number
                  AND c.tx = q.tx AND c.seq = q.seq AND c.relation = q.relation)
ORDER BY q.id

-- name: note_undecided
-- All the rest is written by now, and held rows are found beside it. They are not judged again: what each side wants is said.
WITH net AS ({net}),
typed AS ({typed}),
bound AS ({bound}),
judged AS MATERIALIZED (SELECT * FROM bound),
recorded AS ({ledger})
SELECT count(*) FROM recorded

-- name: note_without_images
-- What could not be read again: a conflict is never left out of the ledger.
INSERT INTO dbsync.conflict (conflict, relation, key, node, incarnation, number, tx, seq, captured_at, origin, rule, decision)
SELECT q.conflict, q.relation, q.key, q.node, q.incarnation, q.number, q.tx, q.seq, q.captured_at, q.origin, 'quarantine',
       'quarantine'
FROM pg_temp.dbsync_stage s JOIN dbsync.quarantine q ON q.id = s.case_id
WHERE {range}
  AND NOT EXISTS (SELECT FROM dbsync.conflict c WHERE c.node = q.node AND c.incarnation = q.incarnation AND c.number = q.number
                  AND c.tx = q.tx AND c.seq = q.seq AND c.relation = q.relation)

-- name: unstage
DELETE FROM pg_temp.dbsync_stage s WHERE {range}

-- name: stage_again
-- Cases, and all that waits behind them unless they are to be tried ``alone``, in the order in which they came.
INSERT INTO pg_temp.dbsync_stage (tx, seq, captured_at, layout, op, renames, image, old_image, refs, old_refs, lost, origin, case_id)
SELECT dense_rank() OVER (ORDER BY q.arrival, q.tx), q.seq, q.captured_at, q.layout, q.op, q.renames, q.image, q.old_image, q.refs,
       q.old_refs, q.lost, coalesce(q.origin, q.node), q.id
FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.lineage = %(lineage)s
  AND (q.id = ANY (%(cases)s) OR NOT %(alone)s AND q.behind = ANY (%(cases)s))
ORDER BY q.arrival, q.tx, q.seq

-- name: came_and_went
-- What is to be tried, by batches in the order in which they came: where the triggers here tell a tier above, and rows of some table
-- came with one batch and rows of it went with a later one. Else nothing.
WITH heads AS MATERIALIZED (
    SELECT DISTINCT coalesce(q.behind, q.id) AS id FROM dbsync.quarantine q
    WHERE q.state = 'waiting' AND q.lineage = %(lineage)s AND (%(cases)s::bigint[] IS NULL OR q.id = ANY (%(cases)s))
),
tried AS MATERIALIZED (
    SELECT q.id, q.arrival, q.relation, q.op FROM dbsync.quarantine q
    WHERE q.state = 'waiting' AND q.lineage = %(lineage)s
      AND (q.id IN (SELECT h.id FROM heads h) OR q.behind IN (SELECT h.id FROM heads h))
      AND EXISTS (SELECT FROM dbsync.relation r WHERE r.mode = 'ship')
)
SELECT array_agg(t.id ORDER BY t.id) FROM tried t
WHERE EXISTS (SELECT FROM tried o GROUP BY o.relation
              HAVING min(o.arrival) FILTER (WHERE o.op IN ('I', 'B')) < max(o.arrival) FILTER (WHERE o.op = 'D'))
GROUP BY t.arrival ORDER BY t.arrival

-- name: corrected
-- Cases whose row was changed again behind them. In no order, so that each is among the first some time.
SELECT q.id FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.lineage = %(lineage)s AND q.behind IS NULL
  AND (%(cases)s::bigint[] IS NULL
       OR q.id IN (SELECT coalesce(c.behind, c.id) FROM dbsync.quarantine c WHERE c.id = ANY (%(cases)s)))
  AND EXISTS (SELECT FROM dbsync.quarantine b
              WHERE b.behind = q.id AND b.state = 'waiting' AND b.relation = q.relation AND q.key IN (b.key, b.old_key))
ORDER BY random()

-- name: just_corrected
-- Cases whose row a batch changed again, or deleted. Not what a person is to decide, nor what waits for a migration, or for another row
-- and is not deleted. And where a tier above is told of what is done here, no deleted ones: as long as they are refused, they come
-- to nothing, and nothing would be told of them.
SELECT DISTINCT q.id
FROM dbsync.quarantine b
JOIN dbsync.quarantine q ON q.id = b.behind
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM dbsync.quarantine d
                   WHERE d.behind = q.id AND d.state = 'waiting' AND d.op = 'D' AND d.relation = q.relation AND q.key IN (d.key, d.old_key)) AS is_gone
) its_row
WHERE b.state = 'waiting' AND b.lineage = %(lineage)s AND b.incarnation = %(incarnation)s AND b.number = %(number)s
  AND q.state = 'waiting' AND b.relation = q.relation AND q.key IN (b.key, b.old_key)
  AND (q.conflict IN ('not_null_violation', 'check_violation', 'exclusion_violation', 'invalid_value', 'refused',
                      'multiple_unique_conflicts')
       OR its_row.is_gone AND q.conflict = 'reference_missing')
  AND NOT (its_row.is_gone AND EXISTS (SELECT FROM dbsync.relation r WHERE r.mode = 'ship'))
LIMIT %(most)s

-- name: forget_attempt
UPDATE dbsync.quarantine q SET attempts = q.attempts - 1
WHERE q.lineage = %(lineage)s AND q.state = 'waiting' AND q.tried_at = now() AND q.attempts > 1

-- name: release
UPDATE dbsync.quarantine q
SET state = 'released', decided_at = now(), decided_by = session_user, image = NULL, old_image = NULL, refs = NULL, old_refs = NULL,
    behind = NULL
FROM pg_temp.dbsync_stage s WHERE s.case_id = q.id

-- name: free_those_behind
-- What waits behind cases that have just been let go: it is a case of its own then.
UPDATE dbsync.quarantine q SET behind = NULL
FROM pg_temp.dbsync_stage s WHERE q.behind = s.case_id AND q.state = 'waiting'

-- name: staged_layouts
SELECT DISTINCT s.layout FROM pg_temp.dbsync_stage s

-- name: count_staged
SELECT count(*) FROM pg_temp.dbsync_stage

-- name: count_held
SELECT count(*) FROM dbsync.quarantine q WHERE q.lineage = %(lineage)s AND q.state = 'waiting' AND q.quarantined_at = now()

-- name: empty_stage
DELETE FROM pg_temp.dbsync_stage

-- name: waiting_nodes
-- In the order in which their changes came: two nodes may want the same row.
SELECT q.lineage, q.node, q.incarnation FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND (%(cases)s::bigint[] IS NULL OR q.id = ANY (%(cases)s))
GROUP BY q.lineage, q.node, q.incarnation
ORDER BY min(q.id)

-- name: waiting_cases
SELECT q.id FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.lineage = %(lineage)s AND q.behind IS NULL
  AND (%(cases)s::bigint[] IS NULL OR q.id = ANY (%(cases)s))
ORDER BY q.id

-- name: heads_of
-- Of any rows of the quarantine, the cases they belong to.
SELECT DISTINCT coalesce(q.behind, q.id) FROM dbsync.quarantine q WHERE q.id = ANY (%(cases)s) AND q.state = 'waiting'

-- name: try_turn
SELECT pg_try_advisory_xact_lock(hashtextextended('dbsync ' || %(lineage)s, 0))

-- name: await_turn
-- For a person, who can wait a moment; in the queue, for a node that has much to ship leaves its turn only for others to take.
WITH usual AS MATERIALIZED (SELECT current_setting('lock_timeout') AS said)
SELECT set_config('lock_timeout', %(patience)s, true), pg_advisory_xact_lock(hashtextextended('dbsync ' || %(lineage)s, 0)),
       set_config('lock_timeout', usual.said, true)
FROM usual

-- name: waiting_by_table
SELECT q.relation, count(*) FROM dbsync.quarantine q WHERE q.lineage = %(lineage)s AND q.state = 'waiting' GROUP BY q.relation

-- name: count_waiting
SELECT count(*) FROM dbsync.quarantine q WHERE q.lineage = %(lineage)s AND q.state = 'waiting'

-- name: awaited
-- What cases wait for, by the layout that tells the key: asked anew now and then.
SELECT DISTINCT q.layout, q.awaits FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.behind IS NULL AND q.conflict = 'reference_missing' AND q.awaits_key IS NOT NULL

-- name: awaiting
-- All of those, where what they wait for cannot be asked for any more: tried, they say why.
SELECT q.id FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.behind IS NULL AND q.conflict = 'reference_missing' AND q.awaits_key IS NOT NULL
  AND q.layout = %(layout)s AND q.awaits = %(awaits)s

-- name: arrived
-- In no collation but the column's that it is compared with: under our own that column's index could not be used.
SELECT w.id FROM (SELECT q.id, q.awaits_key COLLATE pg_catalog."default" AS awaits_key FROM dbsync.quarantine q
    WHERE q.state = 'waiting' AND q.behind IS NULL AND q.conflict = 'reference_missing' AND q.layout = {layout}
      AND q.awaits = {awaits} AND q.awaits_key IS NOT NULL OFFSET 0) w
{joins} WHERE NOT ({is_missing})

-- name: overdue
-- What waits for nothing that can be asked for is tried now and then, more and more rarely: somebody may have mended it. What
-- another change may have been in the way of is tried with the next batch already. A moment that is yet to come was told by a clock that
-- was put back since: nobody waits for it.
SELECT q.id FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.behind IS NULL
  AND NOT (q.conflict = 'reference_missing' AND q.awaits_key IS NOT NULL)
  AND q.conflict NOT IN ('delete_held', 'insert_exists', 'update_origin_differs', 'delete_origin_differs', 'update_missing',
                         'missing_column')
  AND (q.quarantined_at < coalesce(%(before)s, now()) OR q.quarantined_at > now())
  AND (q.tried_at > now() OR q.tried_at <= now() - least(
      CASE WHEN q.conflict IN ('still_referenced', 'multiple_unique_conflicts', 'reference_missing')
           THEN interval '1 second' * (power(2, greatest(least(q.attempts - 2, 20), 0)) - 1)
           ELSE interval '1 minute' * power(2, least(q.attempts - 1, 12)) END, interval '1 day'))

-- name: parked_layouts
SELECT DISTINCT q.layout FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.behind IS NULL AND q.conflict = 'missing_column'

-- name: parked
SELECT q.id FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.behind IS NULL AND q.conflict = 'missing_column' AND q.layout = ANY (%(layouts)s)
