-- name: session
-- work_mem is for the materialized rows of one table's share of a batch; JIT would compile every new statement.
SELECT set_config('jit', 'off', false), set_config('work_mem', '64MB', false),
       set_config('idle_in_transaction_session_timeout', '0', false)

-- name: make_stage
-- One a session, emptied at each commit. Large rows are not compressed again: they live for one batch.
CREATE TEMP TABLE IF NOT EXISTS dbsync_stage (
    tx bigint NOT NULL, seq bigint NOT NULL, captured_at timestamptz NOT NULL, layout bigint NOT NULL, op "char" NOT NULL,
    renames boolean NOT NULL, image text[], old_image text[], refs text[], old_refs text[], lost boolean[], origin text
) ON COMMIT DELETE ROWS

-- name: store_plainly
ALTER TABLE pg_temp.dbsync_stage ALTER image SET STORAGE EXTERNAL, ALTER old_image SET STORAGE EXTERNAL

-- name: index_stage
-- Only for batches that are applied in parts.
CREATE INDEX IF NOT EXISTS dbsync_stage_place ON pg_temp.dbsync_stage (tx, seq)

-- name: stage
COPY pg_temp.dbsync_stage FROM STDIN (FORMAT binary)

-- name: analyze_stage
ANALYZE pg_temp.dbsync_stage

-- name: receipt
SELECT number, hash, applied_at FROM dbsync.receipt
WHERE node = %(node)s AND incarnation = %(incarnation)s ORDER BY number DESC LIMIT 1

-- name: take_turn
-- One writer a node at a time: a second service, or one whose server has not noticed that it died, waits here.
SELECT pg_advisory_xact_lock(hashtextextended('dbsync ' || %(node)s || ' ' || %(incarnation)s, 0))

-- name: record_receipt
INSERT INTO dbsync.receipt (node, incarnation, number, hash, changes, first_captured, last_captured)
VALUES (%(node)s, %(incarnation)s, %(number)s, %(hash)s, %(changes)s, %(first_captured)s, %(last_captured)s)
RETURNING applied_at

-- name: segments
-- Runs of changes between renames (and between two layouts of one table): in each, a natural key means one row.
-- Renames by one statement happen at once and are one run; the moment of capture tells one statement from the next.
SELECT min(tx), (array_agg(seq ORDER BY tx, seq))[1], max(tx), (array_agg(seq ORDER BY tx DESC, seq DESC))[1], bool_or(renames)
FROM (
    SELECT tx, seq, renames, count(*) FILTER (WHERE breaks) OVER (ORDER BY tx, seq) AS run
    FROM (
        SELECT tx, seq, renames,
               (class IS DISTINCT FROM lag(class) OVER (ORDER BY tx, seq)) AS breaks
        FROM (
            SELECT s.tx, s.seq, s.renames,
                   CASE WHEN s.renames THEN 'rename ' || s.layout || ' ' || s.tx || ' ' || s.captured_at
                        WHEN s.layout = ANY (%(changing)s) THEN s.layout::text END AS class
            FROM pg_temp.dbsync_stage s
            WHERE {range}
        ) classed
    ) marked
) runs
GROUP BY run
ORDER BY 1, 2

-- name: counts
SELECT s.layout, s.op::text, count(*), count(*) FILTER (WHERE s.renames)
FROM pg_temp.dbsync_stage s WHERE {range} GROUP BY s.layout, s.op

-- name: middle
SELECT tx, seq FROM pg_temp.dbsync_stage s WHERE {range} ORDER BY tx, seq OFFSET %(half)s LIMIT 1

-- name: parsed
SELECT s.tx, s.seq, s.op, s.image, s.old_image, s.refs, coalesce(s.old_refs, s.refs) AS old_refs, s.lost,
       s.op <> 'U' AS whole, s.op = 'D' AS gone, true = ANY (s.lost[{behind_lost}:]) AS unknown
FROM pg_temp.dbsync_stage s
WHERE s.layout = {layout} AND {range}

-- name: reduced
-- The net change of each row: its last image against the first old one. An insert or backfill among them makes it whole.
-- ``unknown`` says that the key of what some reference pointed to before could not be told.
-- A row trigger of the application that updates the very row it fires for is logged before the statement that fired it,
-- whose image is older: such a statement (``nested``) goes before what its triggers did.
SELECT n.tx, n.seq, n.op, n.image, n.first_old AS old_image, n.refs, n.first_refs AS old_refs, n.lost, n.whole,
       n.op = 'D' AS gone, n.unknown
FROM (
    SELECT s.tx, s.seq, s.op, s.image, s.refs, s.lost,
           first_value(s.old_image) OVER w AS first_old,
           first_value(s.old_refs) OVER w AS first_refs,
           bool_or(s.op <> 'U') OVER w AS whole,
           bool_or(true = ANY (s.lost[{behind_lost}:])) OVER w AS unknown,
           row_number() OVER w = count(*) OVER w AS is_last
    FROM (
        SELECT s.*, count(*) FILTER (WHERE NOT s.nested) OVER (PARTITION BY {key} ORDER BY s.tx, s.seq) AS turn
        FROM (
            SELECT s.tx, s.seq, s.op, s.image, s.old_image, s.refs, coalesce(s.old_refs, s.refs) AS old_refs, s.lost,
                   coalesce(lag(s.op) OVER v = 'U' AND lag(s.tx) OVER v = s.tx
                            AND (s.op = 'I'
                                 OR (s.op = 'U' AND s.image = lag(s.old_image) OVER v
                                     AND s.old_image IS DISTINCT FROM lag(s.image) OVER v)), false) AS nested
            FROM pg_temp.dbsync_stage s
            WHERE s.layout = {layout} AND {range}
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
    SELECT n.tx, n.seq, n.whole, n.gone, n.unknown, n.lost, array_append(n.image, NULL) AS image,
           array_append(n.old_image, NULL) AS old_image, array_append(n.refs, NULL) AS refs,
           array_append(n.old_refs, NULL) AS old_refs
    FROM net n OFFSET 0
) n
OFFSET 0

-- name: write
WITH net AS ({net}),
typed AS ({typed}),
bound AS MATERIALIZED (SELECT {bound} FROM typed y {joins}){more}
SELECT {inserted}, {updated}, {missing}

-- name: missing
-- The first change whose reference finds nothing: which reference, and the key it asked for.
(SELECT ARRAY[b.tx::text, b.seq::text, b.missing::text] || b.asked FROM {rows} b WHERE b.missing > 0
 ORDER BY b.tx, b.seq LIMIT 1)

-- name: final
-- Self-references: to a row that was upstream before, or to one of this very share, by its drawn id.
final AS MATERIALIZED (
    SELECT {columns}, CASE WHEN y.missing0 > 0 THEN y.missing0 ELSE {missing} END AS missing,
           CASE WHEN y.missing0 > 0 THEN y.asked0 ELSE {asked} END AS asked
    FROM drawn y {joins}
)

-- name: insert
INSERT INTO {table} ({columns}) {overriding}
SELECT {values} FROM {rows} b WHERE NOT b.gone AND NOT b.found AND b.missing = 0 {after} RETURNING 1

-- name: update
UPDATE {table} t SET {assignments}
FROM {rows} b
WHERE b.found AND NOT b.gone AND b.missing = 0 AND {same_row}
  AND pg_catalog.record_image_ne(ROW({current}), ROW({wanted}))
RETURNING 1

-- name: delete
WITH net AS ({net}),
typed AS ({typed}),
bound AS MATERIALIZED (SELECT {bound} FROM typed y {joins}),
deleted AS (DELETE FROM {table} t USING bound b WHERE b.found AND b.gone AND {same_row} RETURNING 1){more}
SELECT (SELECT count(*) FROM deleted), {missing}

-- name: remember_row_keys
INSERT INTO dbsync.row_key (relation, local_id, row_key)
SELECT {relation}, {local_id}, b.{leaf} FROM {rows} b WHERE NOT b.gone AND NOT b.found AND b.missing = 0
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
DELETE FROM dbsync.row_key k USING bound b WHERE b.gone AND k.row_key = b.{leaf} RETURNING 1
