-- name: owner
-- The owner of everything dbsync makes. It cannot log in; whoever installs or replicates is a member of it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'dbsync') THEN
        BEGIN
            CREATE ROLE dbsync NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- made by another installation in the same cluster a moment ago
        END;
    END IF;
    IF NOT pg_catalog.pg_has_role(current_user, 'dbsync', 'MEMBER') THEN
        EXECUTE pg_catalog.format('GRANT dbsync TO %I', current_user);
    END IF;
END
$$;

-- name: schema
-- Nobody but the owner may even look inside.
CREATE SCHEMA IF NOT EXISTS dbsync AUTHORIZATION dbsync;

-- name: as_owner
-- From here on everything made belongs to the owner.
SET LOCAL ROLE dbsync;
