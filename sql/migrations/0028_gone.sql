-- Generic references to rows that are gone, as an audit trail has them. No constraint holds such a row, so what points to it is history.

-- Only of a table that is shipped: a lookup's rows are there at both ends, and one that is not there is a mistake. No id that is none of
-- its type's, so that nothing is made of the text that a column for ids may hold; where there is one, each is asked alone.
CREATE FUNCTION dbsync.gone_ids(target text, identities text[]) RETURNS TABLE (identity text, id text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
DECLARE
    known record;
    given text[];
    spelled text[];
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname) AS name, a.attname AS id, format_type(a.atttypid, a.atttypmod) AS type INTO known
    FROM dbsync.relation r
    JOIN pg_namespace n ON starts_with(r.relation, n.nspname || '.')
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = substr(r.relation, length(n.nspname) + 2)::name
    JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
    WHERE r.relation = target AND r.mode = 'ship' AND r.key_query <> '';
    IF NOT FOUND THEN
        RETURN;
    END IF;
    EXECUTE format('SELECT array_agg(i.value), array_agg((i.value::%1$s)::text) FROM unnest($1) AS i(value)'
                   ' WHERE NOT EXISTS (SELECT FROM %2$s t WHERE t.%3$I = i.value::%1$s)', known.type, known.name, known.id)
    INTO given, spelled USING identities;
    RETURN QUERY SELECT u.given, u.spelled FROM unnest(given, spelled) AS u(given, spelled);
EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
    IF cardinality(identities) > 1 THEN
        RETURN QUERY SELECT g.identity, g.id FROM unnest(identities) AS i(value), dbsync.gone_ids(target, ARRAY[i.value]) g;
    END IF;
END
$$;
COMMENT ON FUNCTION dbsync.gone_ids(text, text[]) IS
    'Picks the ids by which a row of a shipped table was known that is gone, and spells them as their type does.';

REVOKE ALL ON FUNCTION dbsync.gone_ids(text, text[]) FROM PUBLIC;
GRANT SELECT (mode) ON dbsync.relation TO dbsync_capture;
GRANT CREATE ON SCHEMA dbsync TO dbsync_capture;
ALTER FUNCTION dbsync.gone_ids(text, text[]) OWNER TO dbsync_capture;
REVOKE CREATE ON SCHEMA dbsync FROM dbsync_capture;
GRANT EXECUTE ON FUNCTION dbsync.gone_ids(text, text[]) TO dbsync_replicator;
