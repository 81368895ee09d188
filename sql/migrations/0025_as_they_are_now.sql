-- A transaction whose snapshot is older than a migration (REPEATABLE READ; or a statement that began before it) sees the catalogs as
-- they were, and has its statements planned for the tables as they are. What its triggers believed to be still so broke the application's
-- statement where a column was gone; and the answer was kept in the plan, so that the session never captured a column that was new.

-- What PostgreSQL itself goes by, whatever the transaction sees, by number. One that was dropped is there under the name that it has since.
CREATE FUNCTION dbsync.columns_now(self regclass) RETURNS text[]
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names text[] := '{}';
    found text[];
BEGIN
    LOOP
        found := (pg_identify_object_as_address('pg_class'::regclass, self, cardinality(names) + 1)).object_names;
        EXIT WHEN found IS NULL;
        names := names || found[3];
    END LOOP;
    RETURN names;
END
$$;
COMMENT ON FUNCTION dbsync.columns_now(regclass) IS 'Names the columns of a table as they are now, whatever the transaction sees.';
REVOKE ALL ON FUNCTION dbsync.columns_now(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbsync.columns_now(regclass) TO dbsync_capture, dbsync_replicator, dbsync_reader, dbsync_web;

-- As it was; and never what was installed, where the transaction sees another table than there is.
CREATE OR REPLACE FUNCTION dbsync.shape(self regclass, parents regclass[], used text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
    SELECT CASE WHEN unseen THEN 'another than this transaction sees'
                ELSE md5(coalesce(string_agg(part, ';' ORDER BY place, attnum), '')) END
    FROM (
        SELECT bool_or(dbsync.columns_now(t.oid) IS DISTINCT FROM ARRAY(
                           SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 ORDER BY a.attnum)
                       OR (pg_identify_object_as_address('pg_class'::regclass, t.oid, 0)).object_names IS DISTINCT FROM (
                           SELECT ARRAY[n.nspname, c.relname]::text[]
                           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = t.oid)) AS unseen
        FROM unnest(array_append(parents, self)) AS t(oid)
    ) catalog CROSS JOIN (
        SELECT 0 AS place, a.attnum,
               format('%s %s %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attgenerated) AS part
        FROM pg_attribute a
        WHERE a.attrelid = self AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT p.place, coalesce(a.attnum, 0),
               format('%s.%s %s %s %s', n.nspname, c.relname, a.attname, format_type(a.atttypid, -1),
                      has_table_privilege('dbsync_capture', c.oid, 'SELECT')
                      AND has_any_column_privilege('dbsync_capture', c.oid, 'UPDATE'))
        FROM unnest(parents) WITH ORDINALITY AS p(oid, place)
        LEFT JOIN pg_class c ON c.oid = p.oid
        LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY (used) AND NOT a.attisdropped
    ) parts
    GROUP BY unseen
$$;

-- As it was, with the names of now. What the transaction cannot see of a new column (its type) is told by no one.
CREATE OR REPLACE FUNCTION dbsync.value_columns(self regclass, set_apart text[]) RETURNS TABLE (name text, type text, output text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
    SELECT c.name, coalesce(format_type(a.atttypid, a.atttypmod), 'text'), t.typoutput::regproc::text
    FROM unnest(dbsync.columns_now(self)) WITH ORDINALITY AS c(name, number)
    LEFT JOIN pg_attribute a ON a.attrelid = self AND a.attnum = c.number
    LEFT JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.name <> format('........pg.dropped.%s........', c.number) AND coalesce(a.attgenerated, '') = ''
      AND NOT c.name = ANY (set_apart)
    ORDER BY c.number
$$;

-- As it was, with the names of now; what a transaction sees of a column that is gone since says nothing.
CREATE OR REPLACE FUNCTION dbsync.new_references(self regclass, known text[])
    RETURNS TABLE (columns text[], target text, by_id boolean, width integer, definition jsonb)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (f.columns) f.columns, f.target, f.by_id, coalesce(r.key_width, 1),
           jsonb_build_object(
               'columns', f.columns, 'target_columns', f.target_columns, 'soft', false,
               'target', coalesce(r.key_tree, jsonb_build_object('table', jsonb_build_array(f.nspname, f.relname),
                                                                 'row_id', f.target_columns, 'parts', ARRAY[]::text[])))
    FROM (
        SELECT c.oid, n.nspname, t.relname, format('%s.%s', n.nspname, t.relname) AS target,
               array_agg(here.names[k.here] ORDER BY k.place) AS columns,
               array_agg(there.names[k.there] ORDER BY k.place) AS target_columns,
               bool_or(y.typcategory = 'N') AS numbers,
               count(*) = 1 AND EXISTS (SELECT FROM pg_constraint p
                                        WHERE p.conrelid = c.confrelid AND p.contype = 'p' AND p.conkey = c.confkey) AS by_id
        FROM pg_constraint c
        JOIN pg_class t ON t.oid = c.confrelid
        JOIN pg_namespace n ON n.oid = t.relnamespace
        CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY AS k(here, there, place)
        CROSS JOIN dbsync.columns_now(c.conrelid) AS here(names)
        CROSS JOIN dbsync.columns_now(c.confrelid) AS there(names)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.here
        JOIN pg_type y ON y.oid = a.atttypid
        WHERE c.contype = 'f' AND c.conrelid = self
          AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = c.conparentid AND p.conrelid = c.conrelid)
        GROUP BY c.oid, n.nspname, t.relname
    ) f
    LEFT JOIN dbsync.relation r ON r.relation = f.target
    WHERE NOT f.columns <@ known
      AND NOT EXISTS (SELECT FROM unnest(f.columns || f.target_columns) name WHERE name LIKE '........pg.dropped.%')
      AND CASE WHEN r.key_tree IS NULL THEN f.numbers ELSE NOT r.key_tree -> 'parts' @> to_jsonb(f.target_columns) END
    ORDER BY f.columns, f.oid;
END
$$;
