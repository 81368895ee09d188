-- Roles and their rights. The roles themselves are made by the installation (sql/install.sql).
-- Whatever a later migration makes has no rights but the owner's until it grants them.

GRANT USAGE ON SCHEMA dbsync TO dbsync_capture, dbsync_replicator, dbsync_reader;

-- Capture adds to the log and cannot look into it. Not to be written: seq, xid and origin, which say when and whose.
GRANT INSERT (captured_at, layout, op, renames, image, old_image, refs, old_refs, local_id, old_local_id, unresolved)
    ON dbsync.change TO dbsync_capture;
GRANT SELECT (capture_off_since) ON dbsync.node TO dbsync_capture;
GRANT SELECT (relation, key_query) ON dbsync.relation TO dbsync_capture;
GRANT SELECT, INSERT ON dbsync.layout TO dbsync_capture;
GRANT SELECT, INSERT, DELETE ON dbsync.row_key TO dbsync_capture;
GRANT EXECUTE ON FUNCTION
    dbsync.shape(regclass, regclass[], text[]),
    dbsync.value_columns(regclass, text[]),
    dbsync.drifted(regclass, jsonb, text[], text)
    TO dbsync_capture;

-- The replicator ships, applies, purges and decides cases. It cannot forge a change, switch capture off, or alter what is
-- registered. A change's references are told afterwards (stitched), its values never.
GRANT SELECT ON ALL TABLES IN SCHEMA dbsync TO dbsync_replicator;
GRANT UPDATE (refs, old_refs, unresolved), DELETE ON dbsync.change TO dbsync_replicator;
GRANT UPDATE (incarnation, system_identifier, paused_since) ON dbsync.node TO dbsync_replicator;
GRANT INSERT ON dbsync.layout TO dbsync_replicator;
GRANT INSERT, UPDATE, DELETE ON dbsync.row_key, dbsync.sent TO dbsync_replicator;
GRANT INSERT, UPDATE ON dbsync.link, dbsync.quarantine, dbsync.conflict TO dbsync_replicator;
GRANT INSERT, DELETE ON dbsync.receipt TO dbsync_replicator;
GRANT EXECUTE ON FUNCTION dbsync.shape(regclass, regclass[], text[]) TO dbsync_replicator;

-- The reader sees how far everything is, and no row's values.
GRANT SELECT ON dbsync.alembic_version, dbsync.node, dbsync.relation, dbsync.layout, dbsync.link, dbsync.sent,
    dbsync.backfill, dbsync.receipt, dbsync.status, dbsync.batch TO dbsync_reader;
GRANT SELECT (seq, xid, captured_at, layout, op, renames, origin) ON dbsync.change TO dbsync_reader;
GRANT SELECT (id, state, node, lineage, incarnation, number, arrival, tx, seq, captured_at, relation, layout, op, renames,
              origin, conflict, reason, behind, awaits, awaits_column, quarantined_at, attempts, tried_at, decided_at,
              decided_by, decision)
    ON dbsync.quarantine TO dbsync_reader;
GRANT SELECT (id, found_at, conflict, relation, node, incarnation, number, tx, seq, captured_at, origin, rule, decision,
              columns, undone_at, undone_by)
    ON dbsync.conflict TO dbsync_reader;
GRANT EXECUTE ON FUNCTION dbsync.shape(regclass, regclass[], text[]) TO dbsync_reader;

-- From PostgreSQL 17 on the service may vacuum the log after a large purge; before that it is autovacuum's alone.
DO $$
BEGIN
    IF pg_catalog.current_setting('server_version_num')::int >= 170000 THEN
        GRANT MAINTAIN ON dbsync.change, dbsync.sent TO dbsync_replicator;
    END IF;
END
$$;

-- An application can set dbsync.origin as well as the service can, and so give its changes out for another node's. It counts
-- only in a session that the service logged in to; session_user stays what it was inside a SECURITY DEFINER function.
-- Nested, so that roles are asked only where an origin is set: this is computed for each row.
ALTER TABLE dbsync.change ALTER origin SET DEFAULT
    CASE WHEN pg_catalog.current_setting('dbsync.origin', true) OPERATOR(pg_catalog.<>) '' THEN
        CASE WHEN pg_catalog.pg_has_role(session_user, 'dbsync_replicator', 'MEMBER')
                  OR pg_catalog.pg_has_role(session_user, 'dbsync', 'MEMBER')
             THEN pg_catalog.current_setting('dbsync.origin', true) END
    END;

-- As before, but asks what dbsync_capture may do: that is who looks the keys up now. A name is quoted only where it has to
-- be, whatever the session says.
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
ALTER FUNCTION dbsync.value_columns(regclass, text[]) SET quote_all_identifiers = off;
ALTER FUNCTION dbsync.drifted(regclass, jsonb, text[], text) SET quote_all_identifiers = off;

-- It reads the application's tables, so it runs as dbsync_capture whoever calls it. Its query comes from dbsync.relation,
-- which only the owner can write.
ALTER FUNCTION dbsync.key_of(text, text) SECURITY DEFINER;
GRANT CREATE ON SCHEMA dbsync TO dbsync_capture;
ALTER FUNCTION dbsync.key_of(text, text) OWNER TO dbsync_capture;
REVOKE CREATE ON SCHEMA dbsync FROM dbsync_capture;
GRANT EXECUTE ON FUNCTION dbsync.key_of(text, text) TO dbsync_replicator;

-- What goes into quarantine takes its number before it is entered.
GRANT USAGE ON SEQUENCE dbsync.quarantine_id_seq TO dbsync_replicator;
