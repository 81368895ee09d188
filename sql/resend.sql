-- Rows of the source that go into the change log once more, whatever the log and the upstream know of them already.

-- name: find
-- By natural key, in the types and by the equality of the source's own columns: so the key's index finds each. A key may name
-- no row; two spellings may name one.
SELECT w.place, {local}
FROM ROWS FROM ({values}) WITH ORDINALITY AS w ({names}, place)
JOIN {table} t ON {same}
ORDER BY w.place

-- name: give_row_keys
-- A row of a table with key = "row_id" that was never captured has no UUID yet.
INSERT INTO dbsync.row_key (relation, local_id, row_key)
SELECT {relation}, {local_id}, pg_catalog.gen_random_uuid()
FROM ROWS FROM ({values}) AS w ({names})
JOIN {table} t ON {same}
ON CONFLICT (relation, local_id) DO NOTHING

-- name: log
-- FOR SHARE as in a backfill: nobody changes these rows until they are logged, so an old image never comes after a newer
-- change. A row that is gone by now is not logged; its delete was captured.
WITH chunk AS MATERIALIZED (
    SELECT t.* FROM ROWS FROM ({values}) AS w ({names}) JOIN {table} t ON {same} FOR SHARE OF t
),
logged AS ({log} RETURNING 1)
SELECT count(*) FROM logged

-- name: parents
-- The rows that some rows refer to by one reference, by their own primary keys.
SELECT DISTINCT {local}
FROM ROWS FROM ({values}) AS w ({names})
JOIN {table} t ON {same}
JOIN {target} p ON {points_to}

-- name: generic_parents
-- Ids are matched as text: a text column holds anything.
SELECT DISTINCT {local}
FROM ROWS FROM ({values}) AS w ({names})
JOIN {table} t ON {same}
JOIN {types} c ON c.id = {type} AND c.app_label || '.' || c.model = {model}
JOIN {target} p ON {target_id} = {id}::pg_catalog.text
