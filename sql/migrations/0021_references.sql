-- What a migration adds to a table after its triggers were made may hold ids of other rows, and ids never travel. So the
-- registration says what the key of each table is made of, and a foreign key that the triggers do not know travels as that.

ALTER TABLE dbsync.relation ADD key_tree jsonb;
ALTER TABLE dbsync.relation ADD key_width integer;
COMMENT ON COLUMN dbsync.relation.key_tree IS 'What the natural key is made of, as a layout tells it; null until it is registered anew.';
COMMENT ON COLUMN dbsync.relation.key_width IS 'How many values a key has.';
GRANT SELECT (key_tree, key_width) ON dbsync.relation TO dbsync_capture;

-- One onto plain values of its target's key (a code) holds what is the same everywhere: it is none of these. Nor is one onto a
-- table that is not registered, unless it holds numbers: those were generated. Such a target has no key to travel as: its rows
-- are told as lost. Beside a foreign key onto a partitioned table PostgreSQL keeps one for each partition, which says nothing new.
-- by_id: it points to the target's primary key, by whose value dbsync.key_of finds the row.
-- Asked at each statement on a table that was altered, so it is in PL/pgSQL, which plans it once a session.
CREATE FUNCTION dbsync.new_references(self regclass, known text[])
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
               array_agg(here.attname::text ORDER BY k.place) AS columns,
               array_agg(there.attname::text ORDER BY k.place) AS target_columns,
               bool_or(y.typcategory = 'N') AS numbers,
               count(*) = 1 AND EXISTS (SELECT FROM pg_constraint p
                                        WHERE p.conrelid = c.confrelid AND p.contype = 'p' AND p.conkey = c.confkey) AS by_id
        FROM pg_constraint c
        JOIN pg_class t ON t.oid = c.confrelid
        JOIN pg_namespace n ON n.oid = t.relnamespace
        CROSS JOIN LATERAL unnest(c.conkey, c.confkey) WITH ORDINALITY AS k(here, there, place)
        JOIN pg_attribute here ON here.attrelid = c.conrelid AND here.attnum = k.here
        JOIN pg_attribute there ON there.attrelid = c.confrelid AND there.attnum = k.there
        JOIN pg_type y ON y.oid = here.atttypid
        WHERE c.contype = 'f' AND c.conrelid = self
          AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = c.conparentid AND p.conrelid = c.conrelid)
        GROUP BY c.oid, n.nspname, t.relname
    ) f
    LEFT JOIN dbsync.relation r ON r.relation = f.target
    WHERE NOT f.columns <@ known
      AND CASE WHEN r.key_tree IS NULL THEN f.numbers ELSE NOT r.key_tree -> 'parts' @> to_jsonb(f.target_columns) END
    ORDER BY f.columns, f.oid;
END
$$;
COMMENT ON FUNCTION dbsync.new_references(regclass, text[]) IS
    'Names the foreign keys of a table that its triggers do not know and that hold ids of other rows, and says how each travels.';

-- As before; and a new foreign key is told as the key of the row it points to, not as a value. Where the key cannot be told, the
-- id waits in the log as that of any reference does: it is told before it is shipped, or is lost and waits upstream.
-- A statement that an earlier version made has no place for it: refused, so that the change is captured without its key.
-- Beside a row n or o, x holds what was looked up: n1 for the first of these references, d1 whether the old row has another, o1 that.
CREATE OR REPLACE FUNCTION dbsync.drifted(self regclass, base jsonb, set_apart text[], template text) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
DECLARE
    known      text[] := set_apart || ARRAY(SELECT b.named ->> 0 FROM jsonb_array_elements(base -> 'columns') b(named));
    found      jsonb;
    pointing   text[];
    fresh      jsonb;
    pieces     jsonb := '{"<<n.lookups>>": "", "<<lookups>>": "", "<<differ>>": "", "<<n.refs>>": "", "<<o.refs>>": "", "<<no.refs>>": "",
                          "<<n.lost>>": "", "<<o.lost>>": "", "<<n.ids>>": "", "<<o.ids>>": "", "<<no.ids>>": ""}';
    names      text[];
    compared   text[];
    definition jsonb;
    layout_id  bigint;
    filled     text := template;
    piece      record;
BEGIN
    SELECT jsonb_agg(to_jsonb(r)), jsonb_agg(r.definition) INTO found, fresh FROM dbsync.new_references(self, known) r;
    pointing := ARRAY(SELECT u.name FROM jsonb_to_recordset(found) AS r(columns text[]) CROSS JOIN unnest(r.columns) u(name)
                      WHERE u.name <> ALL (known));
    IF base -> 'key' = 'null' OR found IS NULL THEN
        fresh := '[]';
    ELSIF position('.refs>>' IN template) = 0 THEN
        RAISE EXCEPTION 'a foreign key is new to the triggers of %', self USING ERRCODE = 'syntax_error';
    ELSE
        SELECT jsonb_build_object(
            '<<n.lookups>>', ' CROSS JOIN LATERAL (SELECT ' || string_agg(s.looked_up, ', ') FILTER (WHERE s.alias = 'n') || ' OFFSET 0) x',
            '<<lookups>>', ' CROSS JOIN LATERAL (SELECT ' || string_agg(s.looked_up, ', ') || ' OFFSET 0) x',
            '<<differ>>', string_agg(format(' OR x.d%s', s.place), '') FILTER (WHERE s.alias = 'o'),
            '<<n.refs>>', string_agg(format(' || coalesce(%s, %s)', s.found, s.nulls), '') FILTER (WHERE s.alias = 'n'),
            '<<o.refs>>', string_agg(format(' || coalesce(%s, %s)', s.found, s.nulls), '') FILTER (WHERE s.alias = 'o'),
            '<<no.refs>>', string_agg(format(' || %s', s.nulls), '') FILTER (WHERE s.alias = 'n'),
            '<<n.lost>>', string_agg(format(' OR (%s)', s.lost), '') FILTER (WHERE s.alias = 'n'),
            '<<o.lost>>', string_agg(format(' OR (%s)', s.lost), '') FILTER (WHERE s.alias = 'o'),
            '<<n.ids>>', string_agg(format(' || CASE WHEN %s THEN %s END', s.lost, s.id), '') FILTER (WHERE s.alias = 'n'),
            '<<o.ids>>', string_agg(format(' || CASE WHEN %s THEN %s END', s.lost, s.id), '') FILTER (WHERE s.alias = 'o'),
            '<<no.ids>>', string_agg(' || NULL::text', '') FILTER (WHERE s.alias = 'n'))
        INTO pieces
        FROM (
            SELECT k.*, CASE k.alias WHEN 'n' THEN '' ELSE 'e.elsewhere AND ' END || format('%s AND %s IS NULL', k.given, k.found) AS lost
            FROM (
                SELECT r.place, w.alias, w.given, y.nulls,
                       CASE WHEN r.by_id THEN format('%s.%I::text', w.alias, r.columns[1]) ELSE quote_literal('?') END AS id,
                       CASE w.alias WHEN 'n' THEN format('%s AS n%s', y.key, r.place)
                                    ELSE format('%1$s AS d%3$s, CASE WHEN %1$s THEN %2$s END AS o%3$s', w.differs, y.key, r.place)
                       END AS looked_up,
                       CASE w.alias WHEN 'n' THEN format('x.n%s', r.place)
                                    ELSE format('CASE WHEN x.d%1$s THEN x.o%1$s ELSE x.n%1$s END', r.place) END AS found
                FROM (SELECT f.*, row_number() OVER () AS place
                      FROM jsonb_to_recordset(found) AS f(columns text[], target text, by_id boolean, width integer)) r
                CROSS JOIN LATERAL (
                    SELECT a.alias, string_agg(format('%s.%I IS NOT NULL', a.alias, c.name), ' AND ') AS given,
                           format('record_image_ne(ROW(%s), ROW(%s))', string_agg(format('o.%I', c.name), ', '),
                                  string_agg(format('n.%I', c.name), ', ')) AS differs
                    FROM (VALUES ('n'), ('o')) a(alias) CROSS JOIN unnest(r.columns) c(name)
                    GROUP BY a.alias
                ) w
                CROSS JOIN LATERAL (
                    SELECT z.nulls, CASE WHEN r.by_id THEN format('nullif(dbsync.key_of(%L, %s.%I::text), %s)', r.target, w.alias,
                                                                  r.columns[1], z.nulls) ELSE 'NULL::text[]' END AS key
                    FROM format('array_fill(NULL::text, ARRAY[%s])', r.width) z(nulls)
                ) y
            ) k
            ORDER BY k.place, k.alias
        ) s;
    END IF;

    SELECT coalesce(array_agg(c.name) FILTER (WHERE c.name <> ALL (pointing)), '{}'), coalesce(array_agg(c.name), '{}'),
           jsonb_set(jsonb_set(base, '{references}', (base -> 'references') || fresh), '{columns}',
                     coalesce(jsonb_agg(jsonb_build_array(c.name, c.type)) FILTER (WHERE c.name <> ALL (pointing)), '[]'))
    INTO names, compared, definition
    FROM dbsync.value_columns(self, set_apart) c;
    layout_id := hashtextextended(definition::text, 0);
    IF NOT EXISTS (SELECT FROM dbsync.layout l WHERE l.id = layout_id) THEN
        INSERT INTO dbsync.layout (id, relation, definition)
        VALUES (layout_id, (definition -> 'table' ->> 0) || '.' || (definition -> 'table' ->> 1), definition);
    END IF;

    pieces := pieces || jsonb_build_object(
        '<<layout>>', layout_id,
        -- format() calls a type's own output function and asks for no right to its schema; only a null itself is null, and no row of nulls.
        '<<n.texts>>', (SELECT string_agg(format('CASE WHEN n.%1$I IS DISTINCT FROM NULL THEN format(''%%s'', n.%1$I) END', c), ', ')
                        FROM unnest(names) c),
        '<<o.texts>>', (SELECT string_agg(format('CASE WHEN o.%1$I IS DISTINCT FROM NULL THEN format(''%%s'', o.%1$I) END', c), ', ')
                        FROM unnest(names) c),
        '<<n.columns>>', (SELECT string_agg(format('n.%I, ', c), '') FROM unnest(compared) c),
        '<<o.columns>>', (SELECT string_agg(format('o.%I, ', c), '') FROM unnest(compared) c));
    FOR piece IN SELECT p.key, p.value FROM jsonb_each_text(pieces) p LOOP
        filled := replace(filled, piece.key, coalesce(piece.value, ''));
    END LOOP;
    RETURN filled;
END
$$;

REVOKE ALL ON FUNCTION dbsync.new_references(regclass, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dbsync.new_references(regclass, text[]) TO dbsync_capture;

-- As it was. Where the printed SQL was run, each % in it had become two, and it said the same of every table with as many columns.
CREATE OR REPLACE FUNCTION dbsync.shape(self regclass, parents regclass[], used text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
    SELECT md5(coalesce(string_agg(part, ';' ORDER BY place, attnum), ''))
    FROM (
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
$$;
