-- The names that columns had before a migration. A column keeps its number, whatever it is called and also when it is gone, but only in
-- its own database: a dump that is restored numbers them anew, and may do so in a table with the same oid.

-- name: note
-- What columns were called before stays beside what they are called now; two that note at the same moment do so in one order.
INSERT INTO dbsync.column_names AS known (database, relation, names)
SELECT here.database, a.attrelid, array_agg(a.attnum || ' ' || a.attname ORDER BY a.attnum)
FROM (SELECT format('%%s/%%s', s.system_identifier, d.oid) AS database
      FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()) here
JOIN pg_attribute a ON a.attrelid = ANY (%(relations)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN dbsync.column_names k ON k.database = here.database AND k.relation = a.attrelid
GROUP BY here.database, a.attrelid, k.names
HAVING k.names IS NULL OR NOT array_agg(a.attnum || ' ' || a.attname) <@ k.names
ORDER BY a.attrelid
ON CONFLICT (database, relation) DO UPDATE
SET names = ARRAY(SELECT DISTINCT said FROM unnest(known.names || excluded.names) AS said ORDER BY said)

-- name: former
-- Names that no column of the table has any more, with what became of the one column that had it, null where it is dropped. A
-- name that two columns had, one after the other, says nothing, unless both are gone.
SELECT n.nspname::text AS schema, c.relname::text AS relation, had.name, min(a.attname::text) FILTER (WHERE NOT a.attisdropped) AS now
FROM dbsync.column_names k
JOIN pg_class c ON c.oid = k.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL unnest(k.names) AS said
CROSS JOIN LATERAL (SELECT split_part(said, ' ', 1)::smallint AS number, substr(said, strpos(said, ' ') + 1) AS name) had
JOIN pg_attribute a ON a.attrelid = k.relation AND a.attnum = had.number
WHERE k.database = (SELECT format('%%s/%%s', s.system_identifier, d.oid)
                    FROM pg_control_system() s, pg_database d WHERE d.datname = current_database())
  AND k.relation = ANY (%(relations)s::oid[])
  AND NOT EXISTS (SELECT FROM pg_attribute p WHERE p.attrelid = k.relation AND p.attname = had.name AND NOT p.attisdropped)
GROUP BY n.nspname, c.relname, had.name
HAVING count(*) = 1 OR bool_and(a.attisdropped)
