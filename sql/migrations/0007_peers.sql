-- Who may bring batches here, whom this node brings its own to, and what is under way over HTTPS.

CREATE TABLE dbsync.peer (
    name               text PRIMARY KEY,
    role               text NOT NULL CHECK (role IN ('node', 'relay', 'upstream')),
    lineage            uuid,
    passes_on          boolean NOT NULL DEFAULT false,
    invite             bytea,
    invite_expires_at  timestamptz,
    invited_at         timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    enrolled_at        timestamptz,
    revoked_at         timestamptz,
    revoked_why        text,
    seen_at            timestamptz
);
CREATE UNIQUE INDEX peer_lineage ON dbsync.peer (lineage) WHERE role <> 'upstream';
COMMENT ON TABLE dbsync.peer IS 'Nodes and relays that may speak to this one, and the upstream this one speaks to.';
COMMENT ON COLUMN dbsync.peer.lineage IS 'The database whose changes it brings, from its first batch on: it can bring no other''s.';
COMMENT ON COLUMN dbsync.peer.passes_on IS 'It is a tier: it may bring changes that other nodes captured.';
COMMENT ON COLUMN dbsync.peer.invite IS 'SHA-256 of the one-time code that it is to enrol with.';

-- A key that was rotated out stays, so that what was signed with it can still be told.
CREATE TABLE dbsync.peer_key (
    key_id    text PRIMARY KEY,
    peer      text NOT NULL REFERENCES dbsync.peer (name) ON UPDATE CASCADE,
    signing   text NOT NULL,
    sealing   text NOT NULL,
    since     timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    until     timestamptz
);
CREATE UNIQUE INDEX peer_key_current ON dbsync.peer_key (peer) WHERE until IS NULL;
COMMENT ON TABLE dbsync.peer_key IS 'Public keys: signing is a minisign public key, sealing an age recipient.';

-- Requests that were answered, for as long as they would be accepted again.
CREATE UNLOGGED TABLE dbsync.nonce (
    key_id  text NOT NULL,
    nonce   text NOT NULL,
    at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (key_id, nonce)
);
CREATE INDEX nonce_at ON dbsync.nonce (at);

-- A batch that comes in parts, until its last part is here.
CREATE TABLE dbsync.upload (
    peer       text NOT NULL REFERENCES dbsync.peer (name) ON UPDATE CASCADE,
    id         text NOT NULL,
    bytes      bigint NOT NULL DEFAULT 0,
    begun_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    grown_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (peer, id)
);
CREATE TABLE dbsync.upload_part (
    peer   text NOT NULL,
    id     text NOT NULL,
    place  bigint NOT NULL,
    data   bytea NOT NULL,
    PRIMARY KEY (peer, id, place),
    FOREIGN KEY (peer, id) REFERENCES dbsync.upload ON UPDATE CASCADE ON DELETE CASCADE
);
ALTER TABLE dbsync.upload_part ALTER data SET STORAGE EXTERNAL;  -- it is compressed already
COMMENT ON COLUMN dbsync.upload_part.place IS 'How many bytes of the batch come before it.';

REVOKE ALL ON dbsync.peer, dbsync.peer_key, dbsync.nonce, dbsync.upload, dbsync.upload_part FROM PUBLIC;
-- The service admits nobody: it can use up an invitation, note when it saw whom, and whose changes a peer brings.
GRANT SELECT ON dbsync.peer, dbsync.peer_key TO dbsync_replicator;
GRANT INSERT ON dbsync.peer_key TO dbsync_replicator;
GRANT UPDATE (until) ON dbsync.peer_key TO dbsync_replicator;
GRANT UPDATE (lineage, invite, enrolled_at, revoked_at, revoked_why, seen_at) ON dbsync.peer TO dbsync_replicator;
GRANT SELECT, INSERT, UPDATE, DELETE ON dbsync.nonce TO dbsync_replicator;
GRANT SELECT, INSERT, UPDATE, DELETE ON dbsync.upload, dbsync.upload_part TO dbsync_replicator;
GRANT SELECT ON dbsync.peer_key TO dbsync_reader;
GRANT SELECT (name, role, lineage, passes_on, invite_expires_at, invited_at, enrolled_at, revoked_at, revoked_why, seen_at)
    ON dbsync.peer TO dbsync_reader;
