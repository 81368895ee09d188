-- name: alone
-- Whoever installs into the same database at the same moment waits, and finds it done.
SELECT pg_advisory_xact_lock(hashtextextended('dbsync install', 0))

-- name: owner
-- Five roles, none of which can log in. dbsync owns the schema: who installs is a member of it. dbsync_capture owns what
-- runs inside the application's transactions, and may only add to the change log: whoever owns a table can make its reader
-- run code of his own, so that reader must be able to do nothing worth having. dbsync_replicator is granted to the
-- service's login, dbsync_reader to whoever watches, dbsync_web to the login of whatever serves the pages.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['dbsync', 'dbsync_capture', 'dbsync_replicator', 'dbsync_reader', 'dbsync_web'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- made by another installation in the same cluster a moment ago
            END;
        END IF;
    END LOOP;
    IF NOT pg_catalog.pg_has_role('dbsync', 'dbsync_capture', 'USAGE') THEN
        GRANT dbsync_capture TO dbsync;
    END IF;
    IF NOT pg_catalog.pg_has_role(current_user, 'dbsync', 'USAGE') THEN
        EXECUTE pg_catalog.format('GRANT dbsync TO %I', current_user);
    END IF;
END
$$;

-- name: schema
-- Nobody but the owner and the roles above may even look inside.
CREATE SCHEMA IF NOT EXISTS dbsync AUTHORIZATION dbsync;

-- name: as_owner
-- From here on everything made belongs to the owner.
SET LOCAL ROLE dbsync;

-- name: missing_rights
-- What the replicator lacks to write the shipped tables and to read the lookups, one row a GRANT. What it has beyond that
-- is left alone: another node may ship it. ``types`` are the schemas of the columns' types. ``own``: this role has it for itself.
SELECT kind, schema, name, privileges, own
FROM (
    SELECT 1 AS place, 'SCHEMA' AS kind, n.nspname::text AS schema, NULL::text AS name, ARRAY['USAGE'] AS privileges,
           has_schema_privilege(n.oid, 'USAGE') AS own
    FROM pg_namespace n
    WHERE n.nspname = ANY (%(schemas)s::text[] || %(types)s::text[]) AND NOT has_schema_privilege('dbsync_replicator', n.oid, 'USAGE')
    UNION ALL
    SELECT 2, 'TABLE', n.nspname::text, c.relname::text, lacking.privileges, lacking.own
    FROM unnest(%(schemas)s::text[], %(names)s::text[], %(shipped)s::bool[]) wanted (schema, name, shipped)
    JOIN pg_namespace n ON n.nspname = wanted.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
    CROSS JOIN LATERAL (
        SELECT array_agg(p) AS privileges, bool_and(has_table_privilege(c.oid, p)) AS own
        FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
        WHERE (wanted.shipped OR p = 'SELECT') AND NOT has_table_privilege('dbsync_replicator', c.oid, p)
    ) lacking
    WHERE lacking.privileges IS NOT NULL
    UNION ALL
    SELECT 3, 'SEQUENCE', n.nspname::text, c.relname::text, ARRAY['USAGE'],
           has_sequence_privilege(wanted.sequence, 'USAGE')
    FROM unnest(%(sequences)s::text[]) wanted (sequence)
    JOIN pg_class c ON c.oid = wanted.sequence::regclass
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT has_sequence_privilege('dbsync_replicator', wanted.sequence, 'USAGE')
) missing
ORDER BY place, schema, name

-- name: grant
GRANT {privileges} ON {kind} {name} TO dbsync_replicator
