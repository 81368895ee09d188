-- What `dbsync check` asks of both databases, in READ ONLY transactions.

-- name: read_only
-- Nothing can be written by mistake, and nobody is kept waiting: whoever types this wants an answer now.
SET TRANSACTION READ ONLY;
SET LOCAL statement_timeout = {patience};
SET LOCAL lock_timeout = {patience}

-- name: server
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text,
       pg_is_in_recovery() AS in_recovery, current_setting('default_transaction_read_only') = 'on' AS read_only,
       (SELECT s.source FROM pg_settings s WHERE s.name = 'default_transaction_read_only') AS read_only_by,
       current_database()::text AS database, current_user::text AS role, session_user::text AS login, pg_backend_pid() AS backend,
       current_setting('server_encoding') AS encoding,
       (SELECT format('%%s/%%s', s.system_identifier, d.oid) FROM pg_control_system() s, pg_database d
        WHERE d.datname = current_database()) AS identity, pg_postmaster_start_time() AS started,
       to_regnamespace('dbsync') IS NOT NULL AS has_schema,
       to_regrole('dbsync') IS NOT NULL AS has_owner,
       coalesce(pg_has_role(to_regrole('dbsync')::oid, 'USAGE'), false) AS is_member,
       coalesce(pg_has_role(to_regrole('dbsync_replicator')::oid, 'USAGE'), false) AS is_replicator,
       coalesce(pg_has_role(to_regrole('dbsync_web')::oid, 'USAGE'), false) AS is_of_pages,
       coalesce(has_schema_privilege(to_regnamespace('dbsync')::oid, 'USAGE'), false) AS may_look,
       ARRAY(SELECT r FROM unnest(ARRAY['dbsync', 'dbsync_capture', 'dbsync_replicator', 'dbsync_reader', 'dbsync_web']) r
             WHERE to_regrole(r) IS NULL) AS missing_roles,
       (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) AS can_make_roles,
       has_database_privilege(current_database(), 'CREATE') AS can_make_schemas,
       has_database_privilege(current_database(), 'TEMPORARY') AS can_make_temporary_tables,
       ARRAY(SELECT n.nspname::text FROM pg_settings s CROSS JOIN LATERAL unnest(string_to_array(s.reset_val, ',')) p
             JOIN pg_namespace n ON n.nspname = btrim(p, ' "')
             WHERE s.name = 'search_path' AND has_schema_privilege('public', n.oid, 'CREATE') ORDER BY n.nspname) AS open_schemas

-- name: schema_revision
SELECT version_num::text FROM dbsync.alembic_version

-- name: table_privileges
-- Owners and superusers have every privilege. ``given_on``: whether capture may read the table and lock its rows already, or
-- can be let; ``read_on``: only read it.
SELECT n.nspname::text AS schema, c.relname::text AS name,
       has_schema_privilege(n.oid, 'USAGE') AS schema_usage,
       ARRAY(SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRIGGER']) p
             WHERE has_table_privilege(c.oid, p)) AS held,
       has_table_privilege(c.oid, 'SELECT WITH GRANT OPTION') AND has_table_privilege(c.oid, 'UPDATE WITH GRANT OPTION')
           OR coalesce(has_table_privilege(to_regrole('dbsync_capture')::oid, c.oid, 'SELECT')
                       AND has_any_column_privilege(to_regrole('dbsync_capture')::oid, c.oid, 'UPDATE'), false) AS given_on,
       has_table_privilege(c.oid, 'SELECT WITH GRANT OPTION')
           OR coalesce(has_table_privilege(to_regrole('dbsync_capture')::oid, c.oid, 'SELECT'), false) AS read_on,
       row_security_active(c.oid) AS filtered
FROM unnest(%(schemas)s::text[], %(names)s::text[]) wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
ORDER BY n.nspname, c.relname

-- name: closed_schemas
-- Of some schemas, those that this role may not look into; or those that capture may not and that this role cannot let it.
SELECT n.nspname::text FROM pg_namespace n
WHERE n.nspname = ANY (%(schemas)s::text[])
  AND CASE WHEN %(capture)s
           THEN NOT (has_schema_privilege(n.oid, 'USAGE WITH GRANT OPTION') OR has_schema_privilege('public', n.oid, 'USAGE')
                     OR coalesce(has_schema_privilege(to_regrole('dbsync_capture')::oid, n.oid, 'USAGE'), false))
           ELSE NOT has_schema_privilege(n.oid, 'USAGE') END
ORDER BY n.nspname

-- name: unusable_sequences
SELECT wanted.sequence
FROM unnest(%(sequences)s::text[]) wanted (sequence)
WHERE NOT has_sequence_privilege(wanted.sequence, 'USAGE')
ORDER BY wanted.sequence

-- name: echoes
-- The words that stand in a function's text before a table that it writes into. A name may be quoted, and have its schema before it.
-- Hundreds of triggers and hundreds of tables are a hundred thousand pairs: most are told by whether the name is there at all.
WITH shipped AS (
    SELECT u.schema, u.name, regexp_replace(u.schema, '(\W)', '\\\1', 'g') AS schema_said, regexp_replace(u.name, '(\W)', '\\\1', 'g') AS said
    FROM unnest(%(schemas)s::text[], %(names)s::text[]) u (schema, name)
)
SELECT n.nspname::text, c.relname::text, array_agg(DISTINCT t.tgname::text), array_agg(DISTINCT ARRAY[s.schema, s.name])
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace f ON f.oid = p.pronamespace AND f.nspname <> 'dbsync'
JOIN shipped here ON here.schema = n.nspname AND here.name = c.relname
JOIN shipped s ON (s.schema, s.name) <> (n.nspname, c.relname)
WHERE NOT t.tgisinternal AND t.tgparentid = 0 AND t.tgenabled IN ('O', 'A')
  AND CASE WHEN strpos(lower(p.prosrc), lower(s.name)) > 0 THEN p.prosrc ~* ('\m(insert\s+into|update|delete\s+from|merge\s+into)\s+(only\s+)?("?' || s.schema_said || '"?\.)?"?' || s.said || '"?(\W|$)') END
GROUP BY n.nspname, c.relname
ORDER BY n.nspname, c.relname
