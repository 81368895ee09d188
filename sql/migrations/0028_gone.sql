-- Generic references to rows that are gone, as an audit trail has them. No constraint holds such a row, so what points to it is history.

-- Only of a table that is shipped: a lookup's rows are there at both ends, and one that is not there is a mistake. No id that is none of
-- its type's, so that nothing is made of the text that a column for ids may hold.
CREATE FUNCTION dbsync.gone_id(target text, identity text) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $$
DECLARE
    known record;
    spelled text;
    lives boolean;
BEGIN
    SELECT format('%I.%I', n.nspname, c.relname) AS name, a.attname AS id, format_type(a.atttypid, a.atttypmod) AS type INTO known
    FROM dbsync.relation r
    JOIN pg_namespace n ON starts_with(r.relation, n.nspname || '.')
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = substr(r.relation, length(n.nspname) + 2)::name
    JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
    WHERE r.relation = target AND r.mode = 'ship' AND r.key_query <> '';
    IF NOT FOUND OR identity IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format('SELECT ($1::%s)::text, EXISTS (SELECT FROM %s t WHERE t.%I = $1::%1$s)', known.type, known.name, known.id)
    INTO spelled, lives USING identity;
    RETURN CASE WHEN NOT lives THEN spelled END;
EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION dbsync.gone_id(text, text) IS
    'Gives an id by which a row of a shipped table was known, as its type spells it; null where it is none, or where a row has it.';

REVOKE ALL ON FUNCTION dbsync.gone_id(text, text) FROM PUBLIC;
GRANT SELECT (mode) ON dbsync.relation TO dbsync_capture;
GRANT CREATE ON SCHEMA dbsync TO dbsync_capture;
ALTER FUNCTION dbsync.gone_id(text, text) OWNER TO dbsync_capture;
REVOKE CREATE ON SCHEMA dbsync FROM dbsync_capture;
GRANT EXECUTE ON FUNCTION dbsync.gone_id(text, text) TO dbsync_replicator;
