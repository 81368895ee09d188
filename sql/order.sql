-- name: turn
-- Two links may read the same transactions: who comes second finds them in their order.
SELECT pg_advisory_xact_lock(hashtextextended('dbsync order', 0))

-- name: make_nested
-- Every change of the transactions in which a trigger's statement was captured. ``run``: the first change of the statement it is of.
-- ``ends_in``: the first that comes behind it of one that was at most 1, 2, 3 ... deep. What fired it, if that was captured, is one
-- of those. Deeper ones than eight are taken for nine deep.
CREATE TEMP TABLE IF NOT EXISTS dbsync_nested (
    xid xid8 NOT NULL, seq bigint NOT NULL, depth smallint NOT NULL, layout bigint NOT NULL, op "char" NOT NULL,
    run bigint NOT NULL, ends_in bigint[]
);
CREATE TEMP TABLE IF NOT EXISTS dbsync_moved (run bigint PRIMARY KEY, place bigint[] NOT NULL)

-- name: clear_nested
TRUNCATE pg_temp.dbsync_nested, pg_temp.dbsync_moved

-- name: fill_nested
INSERT INTO pg_temp.dbsync_nested (xid, seq, depth, layout, op, run, ends_in)
SELECT r.xid, r.seq, r.depth, r.layout, r.op, r.run,
       CASE WHEN r.depth > 1 THEN ARRAY[
           min(r.run) FILTER (WHERE r.depth <= 1) OVER later, min(r.run) FILTER (WHERE r.depth <= 2) OVER later,
           min(r.run) FILTER (WHERE r.depth <= 3) OVER later, min(r.run) FILTER (WHERE r.depth <= 4) OVER later,
           min(r.run) FILTER (WHERE r.depth <= 5) OVER later, min(r.run) FILTER (WHERE r.depth <= 6) OVER later,
           min(r.run) FILTER (WHERE r.depth <= 7) OVER later, min(r.run) FILTER (WHERE r.depth <= 8) OVER later] END
FROM (
    SELECT s.*, max(s.seq) FILTER (WHERE s.begins) OVER (PARTITION BY s.xid ORDER BY s.seq) AS run
    FROM (
        SELECT c.xid, c.seq, coalesce(c.depth, 1::smallint) AS depth, c.layout, c.op,
               (c.layout, c.op, c.captured_at, coalesce(c.depth, 1::smallint))
               IS DISTINCT FROM lag((c.layout, c.op, c.captured_at, coalesce(c.depth, 1::smallint))) OVER statement AS begins
        FROM (
            SELECT w.xid FROM pg_temp.dbsync_window w
            WHERE EXISTS (SELECT FROM dbsync.change n WHERE n.xid = w.xid AND n.depth IS NOT NULL)
            OFFSET 0
        ) w
        CROSS JOIN LATERAL (
            SELECT c.xid, c.seq, c.depth, c.layout, c.op, c.captured_at FROM dbsync.change c WHERE c.xid = w.xid OFFSET 0
        ) c
        WINDOW statement AS (PARTITION BY c.xid ORDER BY c.seq)
    ) s
) r
WINDOW later AS (PARTITION BY r.xid ORDER BY r.seq DESC ROWS UNBOUNDED PRECEDING)

-- name: nested_layouts
SELECT DISTINCT n.layout FROM pg_temp.dbsync_nested n

-- name: unnamed
-- Changes that were captured before the change that gave their row its UUID: those of a trigger that ran when it was inserted.
SELECT DISTINCT n.xid::text
FROM pg_temp.dbsync_nested n
CROSS JOIN LATERAL (SELECT c.refs FROM dbsync.change c WHERE c.xid = n.xid AND c.seq = n.seq OFFSET 0) c
WHERE n.layout = ANY (%(layouts)s) AND n.depth > 1 AND c.refs[1] IS NULL

-- name: name_rows
-- By the change of the same transaction that came next and has the row's UUID; the row may be gone by now, and its UUID with it.
UPDATE dbsync.change c
SET refs = k.row_key || c.refs[2:], old_refs = CASE WHEN c.old_refs IS NOT NULL THEN k.row_key || c.old_refs[2:] END
FROM (
    SELECT t.xid, t.seq,
           coalesce((SELECT o.refs[1] FROM dbsync.change o WHERE o.xid = t.xid AND o.seq = t.told_by),
                    (SELECT r.row_key::text FROM dbsync.row_key r WHERE r.relation = t.relation AND r.local_id = t.local_id)) AS row_key
    FROM (
        SELECT n.xid, n.seq, n.depth, y.relation, m.local_id, m.is_named,
               min(n.seq) FILTER (WHERE m.is_named) OVER (PARTITION BY n.xid, y.relation, m.local_id ORDER BY n.seq DESC
                                                          ROWS UNBOUNDED PRECEDING) AS told_by
        FROM pg_temp.dbsync_nested n
        CROSS JOIN LATERAL (SELECT y.relation FROM dbsync.layout y WHERE y.id = n.layout LIMIT 1) y
        CROSS JOIN LATERAL (
            SELECT m.local_id, m.refs[1] IS NOT NULL AS is_named FROM dbsync.change m WHERE m.xid = n.xid AND m.seq = n.seq OFFSET 0
        ) m
        WHERE n.layout = ANY (%(layouts)s) AND n.xid = ANY (%(xids)s::xid8[])
    ) t
    WHERE t.depth > 1 AND NOT t.is_named
    OFFSET 0
) k
WHERE c.xid = k.xid AND c.seq = k.seq AND k.row_key IS NOT NULL

-- name: chains
-- One line for each thing that a change leaves, takes or keeps: the row's place under its local id and under its key. Of those
-- that statements of different depth are about, in the order of the log, the ids first. ``was`` and ``becomes`` say what is there before and
-- after, null for nothing: by a hash of the values under an id, and of the id under a key.
SELECT t.xid::text, t.relation, t.slot, t.is_key, t.seq, t.depth, t.op::text, t.run, t.ends_in,
       CASE WHEN t.is_key THEN hashtextextended(t.was, 0)
            WHEN t.was = 'old' THEN hash_array_extended(coalesce(c.old_image, c.image), t.layout)
            WHEN t.was = 'new' THEN hash_array_extended(c.image, t.layout) END AS was,
       CASE WHEN t.is_key THEN hashtextextended(t.becomes, 0)
            WHEN t.becomes = 'new' THEN hash_array_extended(c.image, t.layout) END AS becomes,
       CASE WHEN t.was = 'old' THEN hash_array_extended(coalesce(c.old_refs, c.refs), 0)
            WHEN t.was = 'new' THEN hash_array_extended(c.refs, 0) END AS was_refs,
       CASE WHEN t.becomes = 'new' THEN hash_array_extended(c.refs, 0) END AS becomes_refs
FROM (
    SELECT s.*, min(s.depth) OVER slot AS shallow, max(s.depth) OVER slot AS deep
    FROM (
        SELECT n.xid, n.seq, n.depth, n.op, n.run, n.ends_in, n.layout, y.relation, e.is_key, e.slot, e.was, e.becomes
        FROM pg_temp.dbsync_nested n
        CROSS JOIN LATERAL (SELECT y.relation FROM dbsync.layout y WHERE y.id = n.layout LIMIT 1) y
        CROSS JOIN LATERAL (
            SELECT c.*, coalesce(c.old_local_id, c.local_id) AS former_id FROM dbsync.change c WHERE c.xid = n.xid AND c.seq = n.seq OFFSET 0
        ) c
        CROSS JOIN LATERAL (
            SELECT false AS is_key, c.former_id AS slot,
                   CASE c.op WHEN 'U' THEN 'old' WHEN 'D' THEN 'new' END AS was,
                   CASE WHEN c.op = 'I' OR c.former_id = c.local_id AND c.op = 'U' THEN 'new' END AS becomes
            UNION ALL
            SELECT false, c.local_id, NULL, 'new' WHERE c.op = 'U' AND c.former_id <> c.local_id
            UNION ALL
            SELECT true, {key}::text, CASE c.op WHEN 'D' THEN c.local_id END, CASE WHEN c.op <> 'D' THEN c.local_id END
            WHERE c.op <> 'U' OR c.renames
            UNION ALL
            SELECT true, {old_key}::text, c.former_id, NULL WHERE c.renames
        ) e
        WHERE c.local_id IS NOT NULL AND c.op IN ('I', 'U', 'D') AND e.slot IS NOT NULL
    ) s
    WINDOW slot AS (PARTITION BY s.xid, s.relation, s.is_key, s.slot)
) t
CROSS JOIN LATERAL (SELECT c.* FROM dbsync.change c WHERE c.xid = t.xid AND c.seq = t.seq OFFSET 0) c
WHERE t.shallow < t.deep
ORDER BY t.is_key, t.xid, t.relation, t.slot, t.seq

-- name: own_triggers
-- Which triggers of the application a table has, its partitions' with them: one that runs after a row is written, and one that runs
-- before a row is inserted; and whether the database itself gives its rows their ids, no two the same.
SELECT coalesce(bool_or(t.tgtype & 66 = 0), false), coalesce(bool_or(t.tgtype & 7 = 7), false),
       EXISTS (SELECT FROM pg_index x JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)
               WHERE x.indrelid = c.oid AND x.indisprimary AND (a.atthasdef OR a.attidentity <> ''))
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid
CROSS JOIN LATERAL (SELECT c.oid UNION SELECT p.relid FROM pg_partition_tree(c.oid) p) own
JOIN pg_trigger t ON t.tgrelid = own.oid
JOIN pg_proc f ON f.oid = t.tgfoid
WHERE n.nspname = %(schema)s AND c.relname = %(table)s
  AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND f.pronamespace <> 'dbsync'::regnamespace
GROUP BY c.oid

-- name: is_there
-- Whether the source has a row now; nothing where capture has no reason to read its table.
SELECT array_remove(dbsync.key_of(r.relation, %(local_id)s), NULL) <> '{}'
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid
JOIN dbsync.relation r ON r.relation = n.nspname || '.' || c.relname AND r.key_query <> ''
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND has_table_privilege('dbsync_capture', c.oid, 'SELECT')

-- name: fill_several
-- Every change of those transactions that changed one table's keys in several ways, or a row behind its delete. A row that
-- goes and came in the same transaction is by itself, for it may have taken the key of one that goes with it.
INSERT INTO pg_temp.dbsync_nested (xid, seq, depth, layout, op, run)
SELECT s.xid, s.seq, s.depth, s.layout, s.op, max(s.seq) FILTER (WHERE s.begins) OVER (PARTITION BY s.xid ORDER BY s.seq)
FROM (
    SELECT m.xid, m.seq, m.depth, m.layout, m.op,
           m.passed_by OR (m.layout, m.op, m.captured_at, m.depth, m.passed_by)
           IS DISTINCT FROM lag((m.layout, m.op, m.captured_at, m.depth, m.passed_by)) OVER statement AS begins
    FROM (
        SELECT c.xid, c.seq, coalesce(c.depth, 1::smallint) AS depth, c.layout, c.op, c.captured_at,
               c.op = 'D' AND bool_or(c.op = 'I') OVER (PARTITION BY c.xid, c.layout, c.local_id) AS passed_by
        FROM (
            SELECT w.xid FROM pg_temp.dbsync_window w
            WHERE w.last_seq > %(after)s AND w.last_seq <= %(last)s AND w.changes > 1
              AND (EXISTS (SELECT FROM dbsync.change m WHERE m.xid = w.xid AND m.layout = ANY (%(layouts)s::bigint[])
                           GROUP BY m.layout
                           HAVING bool_or(m.op = 'I')::int + bool_or(m.op = 'D')::int + bool_or(m.renames)::int > 1)
                   OR EXISTS (SELECT FROM dbsync.change m WHERE m.xid = w.xid AND m.layout = ANY (%(layouts)s::bigint[])
                              GROUP BY m.layout, m.local_id
                              HAVING max(m.seq) FILTER (WHERE m.op = 'U') > min(m.seq) FILTER (WHERE m.op = 'D')))
            OFFSET 0
        ) w
        CROSS JOIN LATERAL (
            SELECT c.xid, c.seq, c.depth, c.layout, c.op, c.captured_at, c.local_id FROM dbsync.change c WHERE c.xid = w.xid OFFSET 0
        ) c
    ) m
    WINDOW statement AS (PARTITION BY m.xid ORDER BY m.seq)
) s

-- name: overtaken
-- Statements that are in the log behind another one which can only have come later: which, and before which they go. One took a key
-- from a row that the other gave to a new one; within a statement keys are taken before they are given. Or it changed a row that the other
-- deleted: cascades of one statement set a reference to null before they delete its row. One that changed a row which something in
-- between had changed stays: it was another statement, and a key that may be doubled until the commit. Keys that run ``through`` rows
-- which are renamed meanwhile are let be: they change without a word in the log, and what is called the same is another row's.
WITH renamed AS MATERIALIZED (
    SELECT DISTINCT n.xid, y.relation
    FROM pg_temp.dbsync_nested n
    CROSS JOIN LATERAL (SELECT y.relation FROM dbsync.layout y WHERE y.id = n.layout LIMIT 1) y
    CROSS JOIN LATERAL (SELECT c.renames FROM dbsync.change c WHERE c.xid = n.xid AND c.seq = n.seq OFFSET 0) c
    WHERE c.renames
),
unsure AS MATERIALIZED (
    SELECT DISTINCT r.xid, k.layout
    FROM unnest(%(of)s::bigint[], %(through)s::text[]) AS k(layout, relation) JOIN renamed r USING (relation)
),
steps AS MATERIALIZED (
    SELECT n.xid, n.layout, n.run, n.seq, c.op, c.renames, c.local_id, coalesce(c.old_local_id, c.local_id) AS former_id,
           CASE WHEN u.layout IS NULL AND (c.op <> 'U' OR c.renames) THEN {key}::text END AS key,
           CASE WHEN u.layout IS NULL AND c.renames THEN {old_key}::text END AS old_key
    FROM pg_temp.dbsync_nested n
    CROSS JOIN LATERAL (SELECT c.* FROM dbsync.change c WHERE c.xid = n.xid AND c.seq = n.seq OFFSET 0) c
    LEFT JOIN unsure u ON u.xid = n.xid AND u.layout = n.layout
    WHERE n.layout = ANY (%(layouts)s::bigint[]) AND c.local_id IS NOT NULL AND c.op IN ('I', 'U', 'D')
),
chained AS (
    SELECT e.run, e.id, e.gives, lag(e.run) OVER slot AS before, lag(e.id) OVER slot AS holder, lag(e.gives) OVER slot AS given
    FROM (
        SELECT s.xid, s.layout, s.run, s.seq, true AS gives, s.local_id AS id, s.key FROM steps s WHERE s.op = 'I' OR s.renames
        UNION ALL
        SELECT s.xid, s.layout, s.run, s.seq, false, s.local_id, s.key FROM steps s WHERE s.op = 'D'
        UNION ALL
        SELECT s.xid, s.layout, s.run, s.seq, false, s.former_id, s.old_key FROM steps s WHERE s.renames
    ) e
    WHERE e.key IS NOT NULL
    WINDOW slot AS (PARTITION BY e.xid, e.layout, e.key ORDER BY e.run, e.gives, e.seq)
),
met AS (
    SELECT r.run, lag(r.run) OVER slot AS earlier,
           coalesce(r.op = 'U' AND r.was_there AND lag(r.op) OVER slot = 'D', false) AS was_gone
    FROM (
        SELECT DISTINCT s.xid, s.layout, s.run, s.op, s.former_id AS id, true AS was_there FROM steps s
        UNION ALL
        SELECT s.xid, s.layout, s.run, s.op, s.local_id, false FROM steps s WHERE s.local_id <> s.former_id
    ) r
    WINDOW slot AS (PARTITION BY r.xid, r.layout, r.id ORDER BY r.run, r.was_there DESC)
),
touched AS (
    SELECT m.run, max(m.earlier) FILTER (WHERE NOT m.was_gone AND m.earlier < m.run) AS earlier, min(m.earlier) FILTER (WHERE m.was_gone) AS gone_in
    FROM met m
    GROUP BY m.run
),
taken AS (
    SELECT c.run, min(c.before) AS given_in FROM chained c
    WHERE NOT c.gives AND c.given AND c.holder <> c.id AND c.before < c.run
    GROUP BY c.run
)
SELECT o.run, o.before
FROM (
    SELECT t.run, least(k.given_in, t.gone_in) AS before, t.earlier
    FROM touched t LEFT JOIN taken k ON k.run = t.run
) o
WHERE coalesce(o.earlier, 0) < o.before
ORDER BY o.run

-- name: move
INSERT INTO pg_temp.dbsync_moved (run, place)
SELECT m.run, m.place::bigint[] FROM unnest(%(runs)s::bigint[], %(places)s::text[]) AS m(run, place)

-- name: put_in_order
-- The numbers of a transaction's changes stay what they are and are dealt out anew. A place is a list of numbers: before the change
-- whose number it begins with, if that is followed by a negative one.
WITH ranked AS MATERIALIZED (
    SELECT n.xid, n.seq, row_number() OVER (PARTITION BY n.xid ORDER BY n.seq) AS old_rank,
           row_number() OVER (PARTITION BY n.xid ORDER BY coalesce(m.place || n.seq, ARRAY[n.seq]) || 0::bigint) AS new_rank
    FROM pg_temp.dbsync_nested n LEFT JOIN pg_temp.dbsync_moved m ON m.run = n.run
    WHERE n.xid IN (SELECT o.xid FROM pg_temp.dbsync_moved d JOIN pg_temp.dbsync_nested o ON o.seq = d.run)
),
dealt AS (
    SELECT d.xid, d.seq, d.place
    FROM (
        SELECT array_agg(r.xid ORDER BY r.xid, r.new_rank) AS xids, array_agg(r.seq ORDER BY r.xid, r.new_rank) AS seqs,
               array_agg(r.seq ORDER BY r.xid, r.old_rank) AS places
        FROM ranked r
    ) a
    CROSS JOIN LATERAL unnest(a.xids, a.seqs, a.places) AS d(xid, seq, place)
    WHERE d.seq <> d.place
),
settled AS (
    SELECT t.xid FROM (SELECT DISTINCT n.xid FROM pg_temp.dbsync_nested n) t
    WHERE t.xid = ANY (%(mixed)s::xid8[]) OR %(all)s
       OR EXISTS (SELECT FROM dbsync.change c WHERE c.xid = t.xid AND c.unresolved IS NOT NULL)
)
SELECT dbsync.put_in_order(
    (SELECT coalesce(array_agg(d.xid ORDER BY d.seq), '{}') FROM dealt d),
    (SELECT coalesce(array_agg(d.seq ORDER BY d.seq), '{}') FROM dealt d),
    (SELECT coalesce(array_agg(d.place ORDER BY d.seq), '{}') FROM dealt d),
    (SELECT coalesce(array_agg(s.xid), '{}') FROM settled s))
