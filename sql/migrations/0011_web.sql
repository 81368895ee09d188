-- Who may look at the pages, who has logged in, and what was done there. The role dbsync_web is for the login of whatever serves
-- them: beside what dbsync_reader sees it sees keys, and no values; it makes no user, and what it wrote down it cannot take back.

CREATE TABLE dbsync.web_user (
    name         text PRIMARY KEY,
    role         text NOT NULL CHECK (role IN ('viewer', 'operator')),
    sees_values  boolean NOT NULL DEFAULT false,
    password     text NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    made_by      text NOT NULL DEFAULT session_user,
    changed_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    seen_at      timestamptz,
    failures     integer NOT NULL DEFAULT 0,
    failed_at    timestamptz
);
COMMENT ON TABLE dbsync.web_user IS 'People who may log in to the pages. password: argon2id, with its salt and costs.';
COMMENT ON COLUMN dbsync.web_user.failures IS 'Wrong passwords since the last right one: each makes the next try wait longer.';

CREATE TABLE dbsync.web_session (
    token     bytea PRIMARY KEY,
    who       text NOT NULL REFERENCES dbsync.web_user ON UPDATE CASCADE ON DELETE CASCADE,
    begun_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    used_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX web_session_who ON dbsync.web_session (who);
COMMENT ON TABLE dbsync.web_session IS 'Browsers that are logged in. token: SHA-256 of what the browser has.';

CREATE TABLE dbsync.audit (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    who       text NOT NULL,
    address   text NOT NULL,
    what      text NOT NULL,
    command   text NOT NULL,
    result    text,
    ended_at  timestamptz
);
COMMENT ON TABLE dbsync.audit IS
    'What people did on the pages. command: what would have done the same on a terminal; result is null until it is done.';

REVOKE ALL ON dbsync.web_user, dbsync.web_session, dbsync.audit FROM PUBLIC;
GRANT USAGE ON SCHEMA dbsync TO dbsync_web;
GRANT SELECT, UPDATE (seen_at, failures, failed_at) ON dbsync.web_user TO dbsync_web;
GRANT SELECT, INSERT, UPDATE (used_at), DELETE ON dbsync.web_session TO dbsync_web;
GRANT SELECT, INSERT (who, address, what, command), UPDATE (result, ended_at) ON dbsync.audit TO dbsync_web;

GRANT SELECT ON dbsync.alembic_version, dbsync.node, dbsync.relation, dbsync.layout, dbsync.link, dbsync.sent, dbsync.shipped,
    dbsync.backfill, dbsync.receipt, dbsync.passed, dbsync.event, dbsync.restamp, dbsync.custody, dbsync.peer_key, dbsync.list,
    dbsync.status, dbsync.batch TO dbsync_web;
GRANT SELECT (name, role, lineage, passes_on, invite_expires_at, invited_at, enrolled_at, revoked_at, revoked_why, seen_at)
    ON dbsync.peer TO dbsync_web;
GRANT SELECT (seq, xid, captured_at, layout, op, renames, origin) ON dbsync.change TO dbsync_web;
GRANT SELECT (id, state, node, lineage, incarnation, number, arrival, tx, seq, captured_at, relation, layout, op, renames,
              origin, key, old_key, conflict, reason, behind, awaits, awaits_key, awaits_column, quarantined_at, attempts, tried_at,
              decided_at, decided_by, decision)
    ON dbsync.quarantine TO dbsync_web;
GRANT SELECT (id, found_at, conflict, relation, key, node, incarnation, number, tx, seq, captured_at, origin, rule, decision,
              columns, undone_at, undone_by)
    ON dbsync.conflict TO dbsync_web;
GRANT EXECUTE ON FUNCTION dbsync.shape(regclass, regclass[], text[]), dbsync.living(text, integer) TO dbsync_web;

-- A node's receipts by time, and what is asked of them by time: how many changes, and how old the oldest was.
CREATE INDEX receipt_time ON dbsync.receipt (node, applied_at) INCLUDE (changes, first_captured);
