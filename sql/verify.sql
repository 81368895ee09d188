-- What `dbsync verify` asks either side. All of it runs in one REPEATABLE READ, READ ONLY transaction with the pinned
-- search_path, where plain function names mean PostgreSQL's own.

-- name: begin
-- One snapshot for all tables, and nothing can be written by mistake.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: pin
-- The settings under which values become text, also in a session that dbsync did not open itself. A row that row security
-- would hide is an error rather than a row that is not there. Compiling costs more than these plain scans gain.
SELECT set_config(name, value, true)
FROM unnest({names}::text[] || '{{row_security,jit}}'::text[], {values}::text[] || '{{off,off}}'::text[]) s(name, value)

-- name: encoding
-- Text is hashed as bytes, so both databases must have the same.
SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()

-- name: families
-- Of what kind the columns are whose equality is not that of their text; domains as what they are made of.
WITH RECURSIVE based (relation, attnum, base, collated) AS (
    SELECT c.oid, a.attnum, a.atttypid, a.attcollation
    FROM unnest({schemas}::text[], {tables}::text[]) wanted(nspname, relname)
    JOIN pg_namespace n ON n.nspname = wanted.nspname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.relname
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.relation, b.attnum, t.typbasetype, b.collated
    FROM based b JOIN pg_type t ON t.oid = b.base
    WHERE t.typtype = 'd'
),
named AS (
    SELECT b.relation, b.attnum, CASE
            WHEN t.typname = 'citext' OR NOT coalesce(o.collisdeterministic, true) THEN 'caseless'
            WHEN t.typname IN ('int2', 'int4', 'int8') THEN 'integer'
            WHEN t.typname = 'numeric' THEN 'numeric'
            WHEN t.typname IN ('float4', 'float8') THEN 'float'
            WHEN t.typname = 'bpchar' THEN 'padded'
            WHEN t.typname = 'interval' THEN 'interval'
        END AS family
    FROM based b
    JOIN pg_type t ON t.oid = b.base AND t.typtype <> 'd'
    LEFT JOIN pg_collation o ON o.oid = b.collated
)
SELECT n.nspname::text, c.relname::text, a.attname::text, named.family
FROM named
JOIN pg_class c ON c.oid = named.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = named.relation AND a.attnum = named.attnum
WHERE named.family IS NOT NULL

-- name: keyed
-- The rows of a table: natural key (null where it cannot be said), primary key, compared contents; apart from these the
-- references that nothing holds, 'gone' where the target is. References are joined, not looked up row by row: here whole
-- tables are read. OFFSET 0 keeps each expression from being computed twice.
SELECT CASE WHEN {unkeyed} THEN NULL ELSE s.key END AS key, s.local, s.content, s.loose
FROM (SELECT {key} AS key, {local} AS local, {content} AS content, {loose} AS loose FROM {table} r {joins} OFFSET 0) s

-- name: hashed
-- Key and contents hashed as the text of arrays, which is unambiguous: elements are quoted, NULL is not 'NULL'. The hash
-- functions serve hash partitioning, so PostgreSQL keeps their results from version to version; collation "C" makes
-- them independent of the database's. In a bucket a target that is gone counts as null: so most rows agree at once.
SELECT k.key, k.local, k.content, k.loose, hashtextextended(k.key::text COLLATE "C", 0) AS place,
       (coalesce(k.key, k.local) || k.content)::text COLLATE "C" AS firm,
       (coalesce(k.key, k.local) || k.content || array_replace(k.loose, 'gone', NULL))::text COLLATE "C" AS whole
FROM ({keyed} OFFSET 0) k

-- name: buckets
-- Two hashes of 64 bits, one summed and one xor-ed: a pair of rows that cancels in one does not in the other. Of both another
-- one is told, which is half as long on a slow line.
SELECT coalesce((h.place >> (64 - {bits})) & ((1::bigint << {bits}) - 1), -1) AS bucket,
       count(*),
       hashtextextended(concat(bit_xor(hashtextextended(h.whole, 1)), '/', sum(hashtextextended(h.whole, 2))) COLLATE "C", 3)::text
FROM ({hashed} OFFSET 0) h
WHERE coalesce((h.place >> (64 - {within})) & ((1::bigint << {within}) - 1), -1) = ANY ({numbers}::bigint[])
GROUP BY 1

-- name: rows
-- The rows of some buckets as key and digests, bucket by bucket, to be matched in as little memory. References that
-- nothing holds have a digest each: where the source's target is gone, that one is not compared. For a repair of the source
-- its rows say where they are.
SELECT coalesce((h.place >> (64 - {bits})) & ((1::bigint << {bits}) - 1), -1) AS bucket,
       coalesce(h.key, h.local),
       hashtextextended(h.firm, 1)::text,
       ARRAY(SELECT CASE WHEN e.value = 'gone' THEN e.value ELSE hashtextextended(e.value COLLATE "C", 1)::text END
             FROM unnest(h.loose) WITH ORDINALITY e(value, place) ORDER BY e.place),
       CASE WHEN {placed} THEN h.local ELSE '{{}}' END
FROM ({hashed} OFFSET 0) h
WHERE coalesce((h.place >> (64 - {bits})) & ((1::bigint << {bits}) - 1), -1) = ANY ({numbers}::bigint[])
ORDER BY 1

-- name: counts
-- How many rows there are with a key, and without one.
SELECT count(h.place), count(*) - count(h.place) FROM ({hashed} OFFSET 0) h

-- name: items
-- Each row as its place and one digest of all that is compared, as the sums over buckets take it.
SELECT h.place, hashtextextended(h.whole, 4) AS digest FROM ({hashed} OFFSET 0) h WHERE h.place IS NOT NULL

-- name: all_items
SELECT i.place, i.digest FROM ({items}) i ORDER BY 1, 2

-- name: sketch
-- The same summed up into cells: a row goes into three of them, chosen by bits of its digest, and is known by a mark that
-- no sum of others has. See dbsync/verify/sketch.py, which does the same.
SELECT c.cell, count(*)::int, bit_xor(i.place), bit_xor(i.digest), bit_xor(i.mark)
FROM (SELECT s.place, s.digest,
             ('x' || encode(substr(sha256(int8send(s.place) || int8send(s.digest)), 1, 4), 'hex'))::bit(32)::bigint AS mark
      FROM ({items} OFFSET 0) s OFFSET 0) i
CROSS JOIN LATERAL (VALUES ((i.digest & 2097151) % {width}),
                           ({width} + ((i.digest >> 21) & 2097151) % {width}),
                           (2 * {width} + ((i.digest >> 42) & 2097151) % {width})) c(cell)
GROUP BY 1

-- name: rows_at
-- What is at some places now: its digest, its key, where it is, and whether a reference that nothing holds has lost its target.
SELECT h.place, hashtextextended(h.whole, 4), h.key, h.local, 'gone' = ANY (h.loose)
FROM ({hashed} OFFSET 0) h
WHERE h.place = ANY ({places}::bigint[])

-- name: contents
-- What the listed rows hold, to name the columns that differ.
SELECT k.key, k.content, k.loose
FROM ({keyed} OFFSET 0) k
WHERE k.key IN ({keys})

-- name: digests_at
-- Digests of what is in the rows at some places, column by column.
SELECT h.place, hashtextextended(h.whole, 4),
       ARRAY(SELECT hashtextextended(e.value COLLATE "C", 1)::text
             FROM unnest(h.content) WITH ORDINALITY e(value, place) ORDER BY e.place),
       ARRAY(SELECT CASE WHEN e.value = 'gone' THEN e.value ELSE hashtextextended(e.value COLLATE "C", 1)::text END
             FROM unnest(h.loose) WITH ORDINALITY e(value, place) ORDER BY e.place)
FROM ({hashed} OFFSET 0) h
WHERE h.place = ANY ({places}::bigint[])

-- name: digests
-- The same as digests: over a line they name the columns that differ, and the values stay where they are.
SELECT k.key,
       ARRAY(SELECT hashtextextended(e.value COLLATE "C", 1)::text
             FROM unnest(k.content) WITH ORDINALITY e(value, place) ORDER BY e.place),
       ARRAY(SELECT CASE WHEN e.value = 'gone' THEN e.value ELSE hashtextextended(e.value COLLATE "C", 1)::text END
             FROM unnest(k.loose) WITH ORDINALITY e(value, place) ORDER BY e.place)
FROM ({keyed} OFFSET 0) k
WHERE k.key IN ({keys})

-- name: may_write
-- Whether changes of a table are taken in here at all.
SELECT has_table_privilege(c.oid, 'INSERT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s
