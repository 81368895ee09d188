-- The names that columns had before a migration. A column keeps its number, whatever it is called and also when it is gone, but only in
-- its own database: a dump that is restored numbers them anew, and may do so in a table with the same oid.

-- name: note
INSERT INTO dbsync.known_column (database, relation, number, name)
SELECT here.database, a.attrelid, a.attnum, a.attname
FROM (SELECT format('%%s/%%s', s.system_identifier, d.oid) AS database
      FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()) here
JOIN pg_attribute a ON a.attrelid = ANY (%(relations)s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
WHERE NOT EXISTS (SELECT FROM dbsync.known_column k
                  WHERE (k.database, k.relation, k.number, k.name) = (here.database, a.attrelid, a.attnum, a.attname::text))
ON CONFLICT DO NOTHING

-- name: former
-- Names that no column of the table has any more, with what became of the one column that had it, null where it is dropped. A
-- name that two columns had, one after the other, says nothing, unless both are gone.
SELECT n.nspname::text AS schema, c.relname::text AS relation, k.name, min(a.attname::text) FILTER (WHERE NOT a.attisdropped) AS now
FROM dbsync.known_column k
JOIN pg_class c ON c.oid = k.relation
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = k.relation AND a.attnum = k.number
WHERE k.database = (SELECT format('%%s/%%s', s.system_identifier, d.oid)
                    FROM pg_control_system() s, pg_database d WHERE d.datname = current_database())
  AND k.relation = ANY (%(relations)s::oid[])
  AND NOT EXISTS (SELECT FROM pg_attribute p WHERE p.attrelid = k.relation AND p.attname = k.name AND NOT p.attisdropped)
GROUP BY n.nspname, c.relname, k.name
HAVING count(*) = 1 OR bool_and(a.attisdropped)
