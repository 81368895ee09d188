-- name: session
-- work_mem is for the materialized rows of one table's share of a batch; JIT would compile every new statement.
SELECT set_config('jit', 'off', {passing}), set_config('work_mem', '64MB', {passing}),
       set_config('idle_in_transaction_session_timeout', '0', {passing})

-- name: write_beside_others
-- Appliers that want the same rows in different orders would meet in deadlocks again and again, a second each: see write_alone.
SELECT pg_try_advisory_xact_lock_shared(hashtextextended('dbsync writes', 0))

-- name: wait_beside_others
SELECT set_config('lock_timeout', %(patience)s, true), pg_advisory_xact_lock_shared(hashtextextended('dbsync writes', 0)),
       set_config('lock_timeout', %(usual)s, true)

-- name: write_alone
SELECT pg_try_advisory_xact_lock(hashtextextended('dbsync writes', 0))

-- name: wait_alone
-- In the queue for it: those who come later wait behind.
SELECT set_config('lock_timeout', %(patience)s, true), pg_advisory_xact_lock(hashtextextended('dbsync writes', 0)),
       set_config('lock_timeout', %(usual)s, true)

-- name: make_stage
-- One a session, emptied at each commit. Large rows are not compressed again: they live for one batch. ``place`` numbers the
-- changes in the source's order: of a range of numbers the planner knows how many there are.
CREATE TEMP TABLE IF NOT EXISTS dbsync_stage (
    tx bigint NOT NULL, seq bigint NOT NULL, captured_at timestamptz NOT NULL, layout bigint NOT NULL, op "char" NOT NULL,
    renames boolean NOT NULL, image text[], old_image text[], refs text[], old_refs text[], lost boolean[], origin text,
    case_id bigint, place bigint GENERATED ALWAYS AS IDENTITY (CACHE 1000)
) ON COMMIT {at_commit}

-- name: store_plainly
-- Of a few layouts and kinds a small sample tells as much as a large one, which takes long.
ALTER TABLE pg_temp.dbsync_stage ALTER image SET STORAGE EXTERNAL, ALTER old_image SET STORAGE EXTERNAL,
    ALTER layout SET STATISTICS 10, ALTER op SET STATISTICS 10

-- name: index_stage
-- Only for batches that are applied in parts.
CREATE INDEX IF NOT EXISTS dbsync_stage_place ON pg_temp.dbsync_stage (place);
CREATE INDEX IF NOT EXISTS dbsync_stage_change ON pg_temp.dbsync_stage (tx, seq);
ANALYZE pg_temp.dbsync_stage (tx, seq, layout, op, place, case_id)

-- name: stage
COPY pg_temp.dbsync_stage (tx, seq, captured_at, layout, op, renames, image, old_image, refs, old_refs, lost, origin)
FROM STDIN (FORMAT binary)

-- name: open_path
-- Triggers of the upstream's application run in our session and may use names without a schema: they get the search_path that
-- this database gives to everybody. What dbsync itself runs is qualified, or PostgreSQL's own, which is searched first.
SET LOCAL search_path TO DEFAULT

-- name: announce
-- Whose changes these are, for the ledger, and for the triggers of an upstream that passes them on.
SELECT set_config('dbsync.origin', %(node)s, true), set_config('dbsync.node', %(node)s, true),
       set_config('dbsync.incarnation', %(incarnation)s, true), set_config('dbsync.number', %(number)s, true)

-- name: origin
SELECT set_config('dbsync.origin', %(origin)s, true)

-- name: returned
-- What this very node captured first has come round in a ring: it stops here.
DELETE FROM pg_temp.dbsync_stage s USING dbsync.node here WHERE s.origin = here.name

-- name: of_others
SELECT EXISTS (SELECT FROM pg_temp.dbsync_stage s WHERE s.origin IS NOT NULL)

-- name: passes_on
-- Whether the triggers here would tell one first origin from another, and there is one to tell.
SELECT EXISTS (SELECT FROM dbsync.relation r WHERE r.mode = 'ship')
   AND EXISTS (SELECT FROM pg_temp.dbsync_stage s WHERE s.origin IS NOT NULL)

-- name: analyze_stage
-- How many rows, and of which tables; to look into the images would take as long as writing them.
ANALYZE pg_temp.dbsync_stage (layout, op)

-- name: segments
-- Runs of changes between renames (and between two layouts of one table): in each, a natural key means one row.
-- Renames by one statement happen at once and are one run; the moment of capture tells one statement from the next.
-- Where the changes are captured again, those of one first origin are a run too.
SELECT max(place), bool_or(renames), max(origin)
FROM (
    SELECT place, renames, origin, count(*) FILTER (WHERE breaks) OVER (ORDER BY place) AS run
    FROM (
        SELECT place, renames, origin,
               (class IS DISTINCT FROM lag(class) OVER before OR origin IS DISTINCT FROM lag(origin) OVER before) AS breaks
        FROM (
            SELECT s.place, s.renames, CASE WHEN {by_origin} THEN s.origin END AS origin,
                   CASE WHEN s.renames THEN 'rename ' || s.layout || ' ' || s.tx || ' ' || s.captured_at
                        WHEN s.layout = ANY ({changing}::bigint[]) THEN s.layout::text END AS class
            FROM pg_temp.dbsync_stage s
            WHERE {range}
        ) classed
        WINDOW before AS (ORDER BY place)
    ) marked
) runs
GROUP BY run
ORDER BY 1

-- name: deferrable_keys
SELECT format('%I.%I', n.nspname, k.conname)
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
WHERE k.condeferrable AND k.contype IN ('p', 'u', 'x') AND has_schema_privilege(n.oid, 'USAGE')
ORDER BY 1

-- name: counts
SELECT s.layout, s.op::text, count(*), count(*) FILTER (WHERE s.renames)
FROM pg_temp.dbsync_stage s WHERE {range} GROUP BY s.layout, s.op

-- name: middle
-- Where to part a range: after the transaction that ends nearest before its middle, else after its first transaction; a
-- single one after the change in its middle.
WITH part AS MATERIALIZED (SELECT s.tx, s.place FROM pg_temp.dbsync_stage s WHERE {range}),
middle AS (SELECT p.tx, p.place FROM part p ORDER BY p.place OFFSET {half} LIMIT 1)
SELECT coalesce(
    (SELECT max(p.place) FROM part p, middle WHERE p.tx < middle.tx),
    (SELECT max(p.place) FROM part p WHERE p.tx = (SELECT min(tx) FROM part) AND p.tx < (SELECT max(tx) FROM part)),
    (SELECT middle.place FROM middle))

-- name: parsed
SELECT s.tx, s.seq, s.op, s.op AS first_op, s.image, CASE WHEN s.op IN ('D', 'B') THEN s.image ELSE s.old_image END AS old_image, s.refs,
       coalesce(s.old_refs, s.refs) AS old_refs, s.lost, s.op <> 'U' AS whole, s.op = 'D' AS gone,
       s.old_refs IS NOT NULL AND true = ANY (s.lost) AS unknown
FROM pg_temp.dbsync_stage s
WHERE s.layout = {layout} AND {range}

-- name: repeats
-- Asked of many changes before they are sorted by their keys: most often each row was changed once.
SELECT EXISTS (SELECT FROM pg_temp.dbsync_stage s WHERE s.layout = {layout} AND {range} GROUP BY {key} HAVING count(*) > 1)

-- name: reduced
-- The net change of each row: its last image against the row as it was before the first. An insert or backfill among them
-- makes it whole; a deleted or backfilled row says itself how it was.
-- ``unknown`` says that some reference changed, and that the key of what one pointed to, before or now, could not be told.
-- A row trigger of the application that updates the very row it fires for is logged before the statement that fired it,
-- whose image is older: such a statement (``nested``) goes before what its triggers did.
-- The key is read once and has names from then on, so that PostgreSQL knows below what is sorted already.
SELECT n.tx, n.seq, n.op, n.first_op, n.image, n.first_old AS old_image, n.refs, n.first_refs AS old_refs, n.lost, n.whole,
       n.op = 'D' AS gone, n.unknown
FROM (
    SELECT s.tx, s.seq, s.op, s.image, s.refs, s.lost,
           first_value(s.op) OVER w AS first_op,
           first_value(CASE WHEN s.op IN ('D', 'B') THEN s.image ELSE s.old_image END) OVER w AS first_old,
           first_value(s.old_refs) OVER w AS first_refs,
           bool_or(s.op <> 'U') OVER w AS whole,
           bool_or(s.unknown) OVER w AS unknown,
           row_number() OVER w = count(*) OVER w AS is_last
    FROM (
        SELECT s.*, count(*) FILTER (WHERE NOT s.nested) OVER (PARTITION BY {key} ORDER BY s.tx, s.seq) AS turn
        FROM (
            SELECT s.*, coalesce(lag(s.op) OVER v = 'U' AND lag(s.tx) OVER v = s.tx
                                 AND (s.op = 'I'
                                      OR (s.op = 'U' AND s.image = lag(s.old_image) OVER v
                                          AND s.old_image IS DISTINCT FROM lag(s.image) OVER v)), false) AS nested
            FROM (
                SELECT {named_key}, s.tx, s.seq, s.op, s.image, s.old_image, s.refs, coalesce(s.old_refs, s.refs) AS old_refs,
                       s.lost, s.old_refs IS NOT NULL AND true = ANY (s.lost) AS unknown
                FROM pg_temp.dbsync_stage s
                WHERE s.layout = {layout} AND {range}
            ) s
            WINDOW v AS (PARTITION BY {key} ORDER BY s.tx, s.seq)
        ) s
    ) s
    WINDOW w AS (PARTITION BY {key} ORDER BY s.turn, s.seq DESC
                 ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
) n
WHERE n.is_last

-- name: typed
-- array_append gives an expanded array: its elements are then found at once, and a toasted one is read once.
SELECT {columns}
FROM (
    SELECT n.tx, n.seq, n.first_op, n.whole, n.gone, n.unknown, n.lost, array_append(n.image, NULL) AS image,
           array_append(n.old_image, NULL) AS old_image, array_append(n.refs, NULL) AS refs,
           array_append(n.old_refs, NULL) AS old_refs
    FROM net n OFFSET 0
) n
OFFSET 0

-- name: write
-- It answers how many rows it had to insert and did not, how many it updated, had to update, and those that are to be held.
WITH net AS ({net}),
typed AS ({typed}),
bound AS ({bound}){more},
judged AS MATERIALIZED ({judged}){writes}
SELECT (SELECT count(*) FROM judged b WHERE {absent}) - (SELECT count(*) FROM inserted), {updated},
       (SELECT count(*) FROM judged b WHERE b.differs AND b.held IS NULL), {troubles}

-- name: count_absent
WITH net AS ({net}),
typed AS ({typed}),
bound AS ({bound}){more},
judged AS MATERIALIZED ({judged})
SELECT count(*) FROM judged b WHERE {absent}

-- name: bound
SELECT {columns} FROM typed y {joins}

-- name: judged
-- Found rows beside what the change takes them for: ``differs`` from what it wants, ``clash``: somebody else changed the same
-- columns meanwhile, ``held``: why the change must not be written now.
SELECT j.*, CASE WHEN j.missing > 0 THEN 'reference_missing' {held} END AS held
FROM (SELECT b.*, {differs} AS differs, {clash} AS clash, {newer} AS newer FROM {rows} b) j

-- name: troubles
-- Changes that cannot be written now, each with the reference that found nothing and the key it asked for.
(SELECT array_agg(h.said) FROM (
    SELECT ARRAY[b.tx::text, b.seq::text, b.held, b.missing::text, b.asked::text] AS said
    FROM judged b WHERE b.held IS NOT NULL ORDER BY b.tx, b.seq LIMIT 20000) h)

-- name: final
-- Self-references: to a row that was upstream before, or to one of this very share, by its drawn id.
final AS MATERIALIZED (
    SELECT {columns}, CASE WHEN y.missing0 > 0 THEN y.missing0 ELSE {missing} END AS missing,
           CASE WHEN y.missing0 > 0 THEN y.asked0 ELSE {asked} END AS asked
    FROM drawn y {joins}
)

-- name: insert
INSERT INTO {table} ({columns}) {overriding}
SELECT {values} FROM judged b WHERE {absent} {after} {order} RETURNING 1

-- name: insert_fresh
-- Rows that nobody looks for: to find that none of a hundred thousand is there takes as long as inserting them. Those whose
-- reference finds nothing are left out, and the row count says so.
INSERT INTO {table} ({columns}) {overriding}
WITH net AS ({net}),
typed AS ({typed}),
bound AS ({bound})
SELECT {values} FROM bound b WHERE b.missing = 0

-- name: edits
-- Of many updates, which columns they are about: most often the same few. Whether they are about more than those is said first.
SELECT bool_or(n.old_image IS NULL OR n.renames OR n.lost IS NOT NULL OR n.old_refs IS DISTINCT FROM n.refs), {columns}
FROM (
    SELECT s.renames, s.lost, s.refs, coalesce(s.old_refs, s.refs) AS old_refs, array_append(s.image, NULL) AS image,
           array_append(s.old_image, NULL) AS old_image
    FROM pg_temp.dbsync_stage s
    WHERE s.layout = {layout} AND {range} OFFSET 0
) n

-- name: update_edited
-- Rows that nobody judges: found by their keys, and each written if it is as the source saw it; the row count says whether all were.
WITH net AS ({net}),
typed AS ({typed})
UPDATE {table} t SET {assignments}
FROM typed y {joins}
WHERE {same_row} AND ({changed}) AND {untouched}

-- name: update
-- Only the very version that was judged: a row that somebody changed in between is looked at again.
UPDATE {table} t SET {assignments}
FROM judged b
WHERE b.differs AND b.held IS NULL AND {same_row} AND t.xmin = b.version
RETURNING 1

-- name: delete
-- It answers how many rows it deleted, had to delete, and those that are to be held.
WITH net AS ({net}),
typed AS ({typed}),
bound AS ({bound}),
judged AS MATERIALIZED ({judged}),
deleted AS (DELETE FROM {table} t USING judged b WHERE {doomed} AND {same_row} AND t.xmin = b.version RETURNING 1){more}
SELECT (SELECT count(*) FROM deleted), (SELECT count(*) FROM judged b WHERE {doomed}), {troubles}

-- name: lock
-- Rows that others change at the same time are taken in one order by all who apply, and seen as they are by the statement
-- that follows.
WITH net AS ({net}),
typed AS ({typed}),
bound AS ({bound}),
judged AS MATERIALIZED ({judged})
SELECT count(*) FROM (
    SELECT FROM judged b JOIN {table} t ON {same_row} WHERE {wanted} ORDER BY {order} FOR {strength} OF t) locked

-- name: make_doomed
-- Rows that a segment is about to delete, each by where it stands: it is locked and stays there.
CREATE TEMP TABLE IF NOT EXISTS dbsync_doomed (
    relation oid NOT NULL, place tid NOT NULL, layout bigint NOT NULL, tx bigint NOT NULL, seq bigint NOT NULL
) ON COMMIT {at_commit}

-- name: clear_doomed
DELETE FROM pg_temp.dbsync_doomed

-- name: doom
-- Locked, so that nobody makes a row that refers to it between the look for such rows and the delete.
WITH net AS ({net}),
typed AS ({typed}),
bound AS ({bound}),
judged AS MATERIALIZED ({judged})
INSERT INTO pg_temp.dbsync_doomed (relation, place, layout, tx, seq)
SELECT t.tableoid, t.ctid, {layout}, b.tx, b.seq
FROM judged b JOIN {table} t ON {same_row}
WHERE {doomed}
ORDER BY {order}
{locked}

-- name: spared
-- Deletes that would take along, or change, a row which nobody named: the constraint acts, and the row that refers is not
-- itself to be deleted. LIMIT takes none away: it tells the planner how many there are, and without that it walks through
-- the tables for the sake of a few.
SELECT DISTINCT d.tx, d.seq, d.layout
FROM (SELECT m.* FROM pg_temp.dbsync_doomed m LIMIT {doomed}) d
JOIN {target} p ON p.tableoid = d.relation AND p.ctid = d.place
JOIN {table} c ON {refers}
WHERE NOT EXISTS (SELECT FROM pg_temp.dbsync_doomed e WHERE e.relation = c.tableoid AND e.place = c.ctid)
ORDER BY d.tx, d.seq LIMIT 20000

-- name: doomed
SELECT d.tx, d.seq, d.layout FROM pg_temp.dbsync_doomed d WHERE d.layout = ANY ({layouts}) ORDER BY d.tx, d.seq LIMIT 20000

-- name: may_look
-- Whether all rows can be seen: row-level security may hide some, and is active where a policy shows everything too.
SELECT coalesce(bool_and(has_column_privilege(%(table)s::oid, u.name, 'SELECT')), false)
   AND (NOT row_security_active(%(table)s::oid)
        OR (SELECT coalesce(bool_or(p.shows) FILTER (WHERE p.polpermissive) AND bool_and(p.polpermissive OR p.shows), false)
            FROM (SELECT p.polpermissive, pg_get_expr(p.polqual, p.polrelid) = 'true' AS shows FROM pg_policy p
                  WHERE p.polrelid = %(table)s::oid AND p.polcmd IN ('r', '*')
                    AND EXISTS (SELECT FROM unnest(p.polroles) AS r(role) WHERE r.role = 0 OR pg_has_role(r.role, 'USAGE'))) p))
FROM unnest(%(columns)s::text[]) AS u(name)

-- name: ledger
-- Each row that two sides had changed, as each wanted it, and what was decided. Of a change that waited in quarantine its own
-- batch is named.
INSERT INTO dbsync.conflict (conflict, relation, key, node, incarnation, number, tx, seq, captured_at, origin, rule, decision,
                             columns, row_id, source_image, upstream_image)
SELECT {conflict}, {relation}, {key},
       coalesce(q.node, pg_catalog.current_setting('dbsync.node')),
       coalesce(q.incarnation, pg_catalog.current_setting('dbsync.incarnation')::pg_catalog.uuid),
       coalesce(q.number, pg_catalog.current_setting('dbsync.number')::pg_catalog.int8),
       coalesce(q.tx, s.tx), s.seq, s.captured_at, s.origin, {rule}, {decision},
       {differing}, {row_id}, {source_image}, {upstream_image}
FROM judged b
JOIN pg_temp.dbsync_stage s ON s.tx = b.tx AND s.seq = b.seq
LEFT JOIN dbsync.quarantine q ON q.id = s.case_id
WHERE {recorded}
RETURNING 1

-- name: forget_dangling_row_keys
-- A row that somebody deleted here by hand left its UUID behind; the row that has it comes back now.
DELETE FROM dbsync.row_key k USING judged b WHERE {absent} AND k.row_key = b.{leaf} RETURNING 1

-- name: remember_row_keys
INSERT INTO dbsync.row_key (relation, local_id, row_key)
SELECT {relation}, {local_id}, b.{leaf} FROM judged b WHERE {absent} AND (SELECT count(*) FROM dangling) >= 0
ON CONFLICT (relation, local_id) DO UPDATE SET row_key = excluded.row_key
RETURNING 1

-- name: depart
-- A reference that no constraint holds may point to a row that is gone for good (the history of a deleted row). Such a row
-- gets an id of its own here, fresh from the sequence so that no living row has it, and the same for all who mean it.
WITH net AS ({net}),
typed AS ({typed})
INSERT INTO dbsync.row_key (relation, local_id, row_key)
SELECT {relation}, {fresh}, gone.departed
FROM (SELECT DISTINCT {departed} AS departed FROM typed y {joins} WHERE NOT y.gone AND {unfound}) gone
WHERE gone.departed IS NOT NULL
ON CONFLICT (row_key) DO NOTHING

-- name: forget_row_keys
DELETE FROM dbsync.row_key k USING judged b WHERE {forgotten} AND k.row_key = b.{leaf} RETURNING 1
