-- What a database says of its tables. Each statement reads all tables at once: a schema of 450 tables with 650 foreign
-- keys costs a handful of round trips, not thousands. They expect search_path = pg_catalog, pg_temp, so that every name
-- PostgreSQL writes comes out qualified and quoted. %(schemas)s is a list of schemas, or null for all but PostgreSQL's
-- own and dbsync's.

-- name: database
SELECT current_database()::text AS database, current_setting('server_version_num')::int AS server_version

-- name: tables
-- Partitions are left out: their root stands for them. An inheritance child that is no partition is a table of its own.
SELECT c.oid::bigint AS oid, n.nspname::text AS schema, c.relname::text AS name, pg_get_userbyid(c.relowner)::text AS owner,
       CASE c.relkind WHEN 'p' THEN 'partitioned' ELSE 'table' END AS kind,
       EXISTS (SELECT FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
               WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 1 = 0 AND t.tgtype & 20 <> 0
                 AND f.pronamespace IS DISTINCT FROM to_regnamespace('dbsync')::oid) AS statement_triggers,
       c.relkind = 'r' AND c.relhassubclass AS heirs,
       c.relkind = 'r' AND c.oid IN (SELECT inhrelid FROM pg_inherits UNION ALL SELECT inhparent FROM pg_inherits) AS inherits,
       c.relrowsecurity AS row_security, greatest(c.reltuples, 0)::bigint AS estimated_rows
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND CASE WHEN %(schemas)s::text[] IS NULL
           THEN n.nspname NOT IN ('pg_catalog', 'information_schema', 'dbsync') AND n.nspname !~ '^pg_(toast|temp)'
           ELSE n.nspname = ANY (%(schemas)s::text[]) END
ORDER BY n.nspname, c.relname

-- name: columns
-- The sequence behind a column is the one its default names as a constant, else the one it owns (identity, serial).
-- A default that calls nextval in any other way is still drawn locally: auto, with no sequence known. A column that
-- owns a sequence without drawing from it is plain. NOT NULL that is NOT VALID (PostgreSQL 18) says nothing of the rows of before.
WITH drawn AS (
    SELECT DISTINCT ON (relation, number) relation, number, sequence
    FROM (
        SELECT d.adrelid AS relation, d.adnum AS number, q.oid AS sequence, 1 AS rank
        FROM pg_attrdef d
        JOIN pg_depend p ON p.classid = 'pg_attrdef'::regclass AND p.objid = d.oid AND p.refclassid = 'pg_class'::regclass
        JOIN pg_class q ON q.oid = p.refobjid AND q.relkind = 'S'
        UNION ALL
        SELECT p.refobjid, p.refobjsubid, q.oid, 2
        FROM pg_depend p JOIN pg_class q ON q.oid = p.objid AND q.relkind = 'S'
        WHERE p.classid = 'pg_class'::regclass AND p.refclassid = 'pg_class'::regclass
          AND p.refobjsubid > 0 AND p.deptype IN ('a', 'i')
    ) found
    ORDER BY relation, number, rank, sequence
),
unproven AS (
    SELECT v.conrelid AS relation, v.conkey[1] AS number FROM pg_constraint v WHERE v.contype = 'n' AND NOT v.convalidated
)
SELECT a.attrelid::bigint AS relation, a.attname::text AS name, a.atttypid::bigint AS type_oid,
       format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull OR (a.attrelid, a.attnum) IN (SELECT v.relation, v.number FROM unproven v) AS nullable, a.attgenerated <> '' AS generated,
       a.attidentity = 'a' AS always,
       EXISTS (SELECT FROM pg_trigger t
               WHERE t.tgrelid = a.attrelid AND NOT t.tgisinternal AND a.attnum = ANY (t.tgattr::int2[])) AS watched,
       x.auto, CASE WHEN x.auto THEN coalesce(w.sequence::regclass::text, '') ELSE '' END AS sequence,
       CASE WHEN a.attgenerated = '' THEN coalesce(e.expression, '') ELSE '' END AS "default"
FROM pg_attribute a
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
CROSS JOIN LATERAL (SELECT pg_get_expr(d.adbin, d.adrelid) AS expression OFFSET 0) e
CROSS JOIN LATERAL (
    SELECT a.attidentity <> '' OR a.attgenerated = '' AND coalesce(e.expression, '') ~ '\mnextval\M' AS auto) x
LEFT JOIN drawn w ON w.relation = a.attrelid AND w.number = a.attnum
WHERE a.attrelid = ANY (%(relations)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum

-- name: keys
-- Only what identifies whole rows by whole columns: valid, not partial, no expressions. INCLUDE columns are no part.
SELECT i.indrelid::bigint AS relation, c.relname::text AS name, i.indisprimary AS is_primary,
       ARRAY(SELECT a.attname::text
             FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
             WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS columns,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) AS nulls_not_distinct, i.indimmediate AS immediate
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = ANY (%(relations)s::oid[]) AND i.indisunique AND i.indisvalid AND i.indislive
  AND i.indpred IS NULL AND i.indexprs IS NULL
ORDER BY i.indrelid, c.relname

-- name: foreign_keys
-- A constraint that a partitioned target repeats for each partition counts once; one onto a partition means its root. One that is
-- NOT ENFORCED (PostgreSQL 18) says where a column points, and not that the row is there.
SELECT k.conrelid::bigint AS relation, k.conname::text AS name,
       n.nspname::text AS target_schema, t.relname::text AS target_name,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place) AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place) AS target_columns,
       k.condeferrable OR NOT e.enforced AS deferrable, e.enforced, e.period, k.confdeltype IN ('c', 'n', 'd') AND e.enforced AS acts_on_delete,
       k.confupdtype IN ('c', 'n', 'd') AND e.enforced AS acts_on_update
FROM pg_constraint k
CROSS JOIN LATERAL (
    SELECT coalesce((said ->> 'conenforced')::bool, true) AS enforced, coalesce((said ->> 'conperiod')::bool, false) AS period
    FROM to_jsonb(k) said
) e
JOIN pg_class t ON t.oid = coalesce(pg_partition_root(k.confrelid), k.confrelid)
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE k.conrelid = ANY (%(relations)s::oid[]) AND k.contype = 'f'
  AND NOT EXISTS (SELECT FROM pg_constraint above WHERE above.oid = k.conparentid AND above.conrelid = k.conrelid)
ORDER BY k.conrelid, k.conname

-- name: partition_keys
-- Those that a partition has of its own and that act on delete: what such a constraint does, it does to rows of the root.
SELECT DISTINCT ON (root.oid, columns, target_schema, target_name, target_columns) root.oid::bigint AS relation, k.conname::text AS name,
       n.nspname::text AS target_schema, t.relname::text AS target_name,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place) AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place) AS target_columns,
       k.condeferrable AS deferrable, true AS enforced, false AS period, true AS acts_on_delete,
       k.confupdtype IN ('c', 'n', 'd') AS acts_on_update
FROM pg_constraint k
CROSS JOIN LATERAL (SELECT coalesce((to_jsonb(k) ->> 'conenforced')::bool, true) AS enforced) e
JOIN pg_class own ON own.oid = k.conrelid AND own.relispartition
JOIN pg_class root ON root.oid = pg_partition_root(k.conrelid)
JOIN pg_class t ON t.oid = coalesce(pg_partition_root(k.confrelid), k.confrelid)
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE root.oid = ANY (%(relations)s::oid[]) AND k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd') AND k.conparentid = 0 AND e.enforced
ORDER BY root.oid, columns, target_schema, target_name, target_columns, k.conname

-- name: types
-- The types of those columns and the types inside them. ``to_text`` and ``from_text`` say how a plain cast would go:
-- 'f' a cast function, 'b' the bytes as they are, 'i' or nothing the type's own output and input function. ``detour``
-- is a string type with no cast of its own to the type, so that casting from it does run the input function.
-- ``equals`` is the equality of the type's default btree (else hash) operator class. ``schemas`` are those that a statement
-- which names any of all this looks into; what is inside a type (elements, fields, bounds) is found by number, and asks nobody.
WITH RECURSIVE used (oid) AS (
    SELECT DISTINCT atttypid FROM pg_attribute
    WHERE attrelid = ANY (%(relations)s::oid[]) AND attnum > 0 AND NOT attisdropped
    UNION
    SELECT inner_type.oid
    FROM used JOIN pg_type t ON t.oid = used.oid
    CROSS JOIN LATERAL (
        SELECT t.typbasetype WHERE t.typtype = 'd'
        UNION ALL SELECT t.typelem WHERE t.typcategory = 'A'
        UNION ALL SELECT a.atttypid FROM pg_attribute a
                  WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) inner_type (oid)
)
SELECT t.oid::bigint AS oid, format_type(t.oid, -1) AS cast_name, t.typname::text AS name,
       t.typnamespace = 'pg_catalog'::regnamespace AS builtin, t.typtype::text AS kind,
       CASE WHEN t.typtype = 'd' THEN t.typbasetype::bigint END AS base,
       CASE WHEN t.typcategory = 'A' AND t.typtype <> 'd' THEN t.typelem::bigint END AS element,
       ARRAY(SELECT a.atttypid::bigint FROM pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid
             AND a.attnum > 0 AND NOT a.attisdropped) AS fields,
       format('%%s.%%I', output.pronamespace::regnamespace::text, output.proname) AS output,
       format('%%s.%%I', input.pronamespace::regnamespace::text, input.proname) AS input, input.pronargs AS input_arguments,
       coalesce((SELECT castmethod::text FROM pg_cast WHERE castsource = t.oid AND casttarget = 'text'::regtype), '') AS to_text,
       coalesce((SELECT castmethod::text FROM pg_cast WHERE castsource = 'text'::regtype AND casttarget = t.oid), '') AS from_text,
       coalesce((SELECT v.name FROM (VALUES (1, 'pg_catalog.varchar'), (2, 'pg_catalog.bpchar')) v (place, name)
                 WHERE NOT EXISTS (SELECT FROM pg_cast WHERE castsource = v.name::regtype AND casttarget = t.oid)
                 ORDER BY v.place LIMIT 1), '') AS detour,
       coalesce(equality.operator, '') AS equals,
       ARRAY(SELECT DISTINCT n.nspname::text FROM pg_namespace n
             WHERE n.oid IN (t.typnamespace, output.pronamespace, input.pronamespace, equality.namespace)
               AND n.nspname <> 'pg_catalog' ORDER BY 1) AS schemas
FROM used JOIN pg_type t ON t.oid = used.oid
JOIN pg_proc output ON output.oid = t.typoutput
JOIN pg_proc input ON input.oid = t.typinput
LEFT JOIN LATERAL (
    SELECT format('OPERATOR(%%I.%%s)', n.nspname, o.oprname) AS operator, n.oid AS namespace
    FROM pg_opclass c
    JOIN pg_am m ON m.oid = c.opcmethod AND m.amname IN ('btree', 'hash')
    JOIN pg_amop p ON p.amopfamily = c.opcfamily AND p.amoplefttype = c.opcintype
         AND p.amoprighttype = c.opcintype AND p.amopstrategy = CASE m.amname WHEN 'btree' THEN 3 ELSE 1 END
    JOIN pg_operator o ON o.oid = p.amopopr
    JOIN pg_namespace n ON n.oid = o.oprnamespace
    LEFT JOIN pg_cast b ON b.castsource = t.oid AND b.casttarget = c.opcintype
         AND b.castmethod = 'b' AND b.castcontext = 'i'
    WHERE c.opcdefault
      AND (c.opcintype = t.oid OR b.oid IS NOT NULL
           OR c.opcintype = CASE WHEN t.typcategory = 'A' THEN 'anyarray'::regtype
                                 WHEN t.typtype = 'e' THEN 'anyenum'::regtype
                                 WHEN t.typtype = 'r' THEN 'anyrange'::regtype
                                 WHEN t.typtype = 'm' THEN 'anymultirange'::regtype
                                 WHEN t.typtype = 'c' THEN 'record'::regtype END)
    ORDER BY c.opcintype <> t.oid, m.amname, c.oid LIMIT 1
) equality ON true

-- name: stamp
-- Whether anything may be another than it was at the last look, which takes ten times as long: whatever changes, changes by a
-- new version of a row. All that is asked for above is asked about; what came with the server does not change.
SELECT md5(string_agg(seen.said, ' ' ORDER BY seen.said))
FROM (
    SELECT concat('class ', count(*), ' ', sum(hashint8extended(c.xmin::text::bigint, c.oid::bigint))) AS said
    FROM pg_class c WHERE c.oid >= 16384 AND c.relpersistence <> 't'
    UNION ALL
    SELECT concat('attribute ', count(*), ' ', sum(hashint8extended(a.xmin::text::bigint, a.attrelid::bigint * 4096 + a.attnum)))
    FROM pg_attribute a WHERE a.attrelid >= 16384 AND a.attnum > 0
    UNION ALL
    SELECT concat('default ', count(*), ' ', sum(hashint8extended(d.xmin::text::bigint, d.oid::bigint)))
    FROM pg_attrdef d WHERE d.oid >= 16384
    UNION ALL
    SELECT concat('index ', count(*), ' ', sum(hashint8extended(i.xmin::text::bigint, i.indexrelid::bigint)))
    FROM pg_index i WHERE i.indexrelid >= 16384
    UNION ALL
    SELECT concat('constraint ', count(*), ' ', sum(hashint8extended(n.xmin::text::bigint, n.oid::bigint)))
    FROM pg_constraint n WHERE n.oid >= 16384
    UNION ALL
    SELECT concat('depend ', count(*), ' ', sum(hashint8extended(d.xmin::text::bigint, d.objid::bigint * 4096 + d.refobjsubid)))
    FROM pg_depend d
    WHERE d.objid >= 16384 AND d.classid IN ('pg_class'::regclass, 'pg_attrdef'::regclass) AND d.refclassid = 'pg_class'::regclass
    UNION ALL
    SELECT concat('namespace ', count(*), ' ', sum(hashint8extended(n.xmin::text::bigint, n.oid::bigint))) FROM pg_namespace n
    UNION ALL
    SELECT concat('type ', count(*), ' ', sum(hashint8extended(t.xmin::text::bigint, t.oid::bigint)))
    FROM pg_type t WHERE t.oid >= 16384
    UNION ALL
    SELECT concat('function ', count(*), ' ', sum(hashint8extended(p.xmin::text::bigint, p.oid::bigint)))
    FROM pg_proc p WHERE p.oid >= 16384
    UNION ALL
    SELECT concat('cast ', count(*), ' ', sum(hashint8extended(c.xmin::text::bigint, c.oid::bigint))) FROM pg_cast c
    UNION ALL
    SELECT concat('operator ', count(*), ' ', sum(hashint8extended(o.xmin::text::bigint, o.oid::bigint)))
    FROM pg_operator o WHERE o.oid >= 16384
    UNION ALL
    SELECT concat('opclass ', count(*), ' ', sum(hashint8extended(o.xmin::text::bigint, o.oid::bigint)))
    FROM pg_opclass o WHERE o.oid >= 16384
) seen
