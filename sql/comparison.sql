-- The comparison of a link that goes by stick, from one visit to the next.

-- name: moment
SELECT transaction_timestamp(), pg_current_snapshot()::text

-- name: read
SELECT begun_at, patterns, ignore_extra, size, repair, repaired, upstream, question, asked, asked_at, number, answered_at,
       settled_at, told_at, named, trouble
FROM dbsync.comparison WHERE link = %(link)s

-- name: wish
SELECT begun_at FROM dbsync.comparison
WHERE link = %(link)s AND question IS NULL AND settled_at IS NULL AND answered_at IS NULL

-- name: end
-- What is known of the upstream's tables outlives a comparison.
DELETE FROM dbsync.comparison WHERE link = %(link)s RETURNING upstream

-- name: begin
INSERT INTO dbsync.comparison (link, patterns, ignore_extra, size, repair, upstream)
VALUES (%(link)s, %(patterns)s, %(ignore_extra)s, %(size)s, %(repair)s, %(upstream)s)

-- name: want_repair
UPDATE dbsync.comparison SET repair = true WHERE link = %(link)s

-- name: repaired
-- What differed is on its way, so nobody need name the columns.
UPDATE dbsync.comparison SET repaired = %(rows)s, named = true, question = NULL, paper = NULL WHERE link = %(link)s

-- name: told
UPDATE dbsync.comparison SET told_at = coalesce(told_at, clock_timestamp()) WHERE link = %(link)s

-- name: trouble
UPDATE dbsync.comparison SET trouble = %(trouble)s WHERE link = %(link)s AND trouble IS DISTINCT FROM %(trouble)s

-- name: asked
UPDATE dbsync.comparison
SET question = %(question)s, asked = %(asked)s, asked_at = coalesce(asked_at, %(at)s), number = %(number)s, paper = %(paper)s,
    signature = %(signature)s, trouble = NULL, named = named OR %(naming)s
WHERE link = %(link)s

-- name: forget_question
UPDATE dbsync.comparison SET question = NULL, paper = NULL WHERE link = %(link)s

-- name: settled
UPDATE dbsync.comparison SET settled_at = coalesce(settled_at, clock_timestamp()) WHERE link = %(link)s

-- name: paper
SELECT paper, signature FROM dbsync.comparison WHERE link = %(link)s AND question = %(question)s

-- name: answered
UPDATE dbsync.comparison
SET question = NULL, paper = NULL, answered_at = %(at)s, upstream = %(upstream)s, trouble = NULL,
    settled_at = CASE WHEN %(settled)s THEN coalesce(settled_at, clock_timestamp()) END
WHERE link = %(link)s AND question = %(question)s

-- name: tables
SELECT relation, ask, source_rows, upstream_rows, extra, other_origin, otherwise, missing_columns, notes, problem
FROM dbsync.compared WHERE link = %(link)s ORDER BY relation

-- name: note_table
INSERT INTO dbsync.compared (link, relation, ask, source_rows, upstream_rows, extra, other_origin, otherwise, missing_columns,
                             notes, problem)
VALUES (%(link)s, %(relation)s, %(ask)s, %(source_rows)s, %(upstream_rows)s, %(extra)s, %(other_origin)s, %(otherwise)s,
        %(missing_columns)s, %(notes)s, %(problem)s)
ON CONFLICT (link, relation) DO UPDATE
SET ask = excluded.ask, source_rows = excluded.source_rows, upstream_rows = excluded.upstream_rows, extra = excluded.extra,
    other_origin = excluded.other_origin, otherwise = excluded.otherwise, missing_columns = excluded.missing_columns,
    notes = excluded.notes, problem = excluded.problem

-- name: forget_differences
DELETE FROM dbsync.difference WHERE link = %(link)s AND relation = %(relation)s

-- name: note_differences
COPY dbsync.difference (link, relation, kind, place, digest, times, settled, asked, key, local_id, columns) FROM STDIN

-- name: differences
SELECT kind, place, digest, times, settled, asked, key, local_id, columns
FROM dbsync.difference WHERE link = %(link)s AND relation = %(relation)s

-- name: counts
-- How many rows of each kind are settled, and how many are not.
SELECT relation, kind, settled, count(*) FROM dbsync.difference WHERE link = %(link)s GROUP BY 1, 2, 3

-- name: first
-- The first differences of a table, as they are listed.
SELECT kind, key, columns FROM dbsync.difference
WHERE link = %(link)s AND relation = %(relation)s AND settled ORDER BY kind, key LIMIT %(limit)s

-- name: unnamed
-- Rows whose columns are not named, the first few of each table: nobody reads more.
SELECT d.relation, d.place
FROM dbsync.compared c CROSS JOIN LATERAL (
    SELECT f.relation, f.place FROM dbsync.difference f
    WHERE f.link = c.link AND f.relation = c.relation AND f.settled AND f.kind = 'different' AND f.columns IS NULL
    ORDER BY f.key LIMIT 20
) d
WHERE c.link = %(link)s

-- name: to_repair
SELECT relation, local_id FROM dbsync.difference WHERE link = %(link)s AND settled ORDER BY relation
