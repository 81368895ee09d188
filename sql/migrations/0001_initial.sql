-- The dbsync schema, the same on every node: a server that has an upstream of its own is both ends at once.
-- Everything belongs to the NOLOGIN role dbsync; nobody else has any right here.

CREATE TABLE dbsync.node (
    singleton          boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    name               text NOT NULL,
    incarnation        uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    system_identifier  bigint NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT pg_catalog.now(),
    capture_off_since  timestamptz,
    paused_since       timestamptz
);
COMMENT ON TABLE dbsync.node IS 'This installation: one row. incarnation is the random id of one life of this database.';

CREATE TABLE dbsync.relation (
    relation      text COLLATE "C" PRIMARY KEY,
    mode          text NOT NULL,
    layout        bigint,
    fingerprint   text NOT NULL,
    bodies        jsonb NOT NULL DEFAULT '{}',
    key_query     text NOT NULL,
    installed_at  timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE dbsync.relation IS
    'Registered tables, as schema.table. bodies: the MD5 of each function as installed; key_query: the key of a local id.';

-- No unique index on purpose: two transactions that meet a new layout at once must not wait for each other.
CREATE TABLE dbsync.layout (
    id          bigint NOT NULL,
    relation    text COLLATE "C" NOT NULL,
    definition  jsonb NOT NULL
);
CREATE INDEX layout_id ON dbsync.layout (id);
COMMENT ON TABLE dbsync.layout IS 'What the elements of an image and of refs mean. The id is a hash of the definition.';

CREATE TABLE dbsync.change (
    seq           bigint GENERATED ALWAYS AS IDENTITY (CACHE 1),
    xid           xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    captured_at   timestamptz NOT NULL DEFAULT pg_catalog.statement_timestamp(),
    layout        bigint NOT NULL,
    op            "char" NOT NULL,
    renames       boolean NOT NULL DEFAULT false,
    image         text[],
    old_image     text[],
    refs          text[],
    old_refs      text[],
    local_id      text COLLATE "C",
    old_local_id  text COLLATE "C",
    unresolved    text[],
    origin        text DEFAULT nullif(pg_catalog.current_setting('dbsync.origin', true), '')
);
-- One index: a transaction's changes in order. Reading is always by transaction.
CREATE UNIQUE INDEX change_xid_seq ON dbsync.change (xid, seq);
CREATE INDEX change_unresolved ON dbsync.change (xid) WHERE unresolved IS NOT NULL;
COMMENT ON TABLE dbsync.change IS 'The change log. op: I insert, U update, D delete, B backfill.';

CREATE TABLE dbsync.row_key (
    relation  text COLLATE "C" NOT NULL,
    local_id  text COLLATE "C" NOT NULL,
    row_key   uuid NOT NULL,
    PRIMARY KEY (relation, local_id),
    UNIQUE (row_key)
);
COMMENT ON TABLE dbsync.row_key IS 'The UUID that stands for a row of a table with key = "row_id", the same on every tier.';

CREATE TABLE dbsync.link (
    name          text PRIMARY KEY,
    cursor        pg_snapshot,
    window_end    pg_snapshot,
    window_seq    bigint NOT NULL DEFAULT 0,
    last_number   bigint NOT NULL DEFAULT 0,
    last_hash     bytea NOT NULL DEFAULT '\x',
    state         text NOT NULL DEFAULT 'new',
    state_since   timestamptz NOT NULL DEFAULT pg_catalog.now(),
    reason        text,
    contact_at    timestamptz
);
COMMENT ON TABLE dbsync.link IS
    'How far each upstream has acknowledged: everything visible in cursor; of window_end, transactions up to window_seq.';

CREATE TABLE dbsync.sent (
    link             text NOT NULL REFERENCES dbsync.link ON DELETE CASCADE,
    number           bigint NOT NULL,
    window_start     pg_snapshot,
    window_end       pg_snapshot NOT NULL,
    after_seq        bigint NOT NULL,
    last_seq         bigint NOT NULL,
    transactions     integer NOT NULL,
    changes          bigint NOT NULL,
    counts           jsonb NOT NULL,
    hash             bytea NOT NULL,
    sent_at          timestamptz NOT NULL DEFAULT pg_catalog.now(),
    first_captured   timestamptz NOT NULL,
    last_captured    timestamptz NOT NULL,
    acknowledged_at  timestamptz,
    PRIMARY KEY (link, number)
);
COMMENT ON TABLE dbsync.sent IS 'Batches that left this node: enough to read each again byte for byte until its receipt is here.';

CREATE TABLE dbsync.backfill (
    relation    text COLLATE "C" PRIMARY KEY,
    last_key    text[],
    rows        bigint NOT NULL DEFAULT 0,
    started_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    finished_at timestamptz
);
COMMENT ON TABLE dbsync.backfill IS 'How far each backfill got; last_key is the primary key of the last row it logged.';

CREATE TABLE dbsync.receipt (
    node            text NOT NULL,
    incarnation     uuid NOT NULL,
    number          bigint NOT NULL,
    hash            bytea NOT NULL,
    changes         bigint NOT NULL,
    first_captured  timestamptz NOT NULL,
    last_captured   timestamptz NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (node, incarnation, number)
);
COMMENT ON TABLE dbsync.receipt IS 'Batches committed here, each recorded in the transaction that applied it.';

CREATE VIEW dbsync.batch AS
    SELECT link, number, changes, transactions, sent_at, acknowledged_at, encode(hash, 'hex') AS hash FROM dbsync.sent;

CREATE VIEW dbsync.status AS
    SELECT l.name AS link, l.state, l.state_since, l.reason, l.last_number AS last_batch, l.contact_at,
           n.name AS node, n.incarnation, n.capture_off_since, n.paused_since
    FROM dbsync.link l CROSS JOIN dbsync.node n;

-- Called by capture with constants only, so that PostgreSQL folds it into the cached plan and asks again only when one of
-- the tables changes: that is what lets it be called immutable. It says everything a static capture statement relies on.
CREATE FUNCTION dbsync.shape(self regclass, parents regclass[], used text[]) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
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
                      has_table_privilege('dbsync', c.oid, 'SELECT')
                      AND has_any_column_privilege('dbsync', c.oid, 'UPDATE'))
        FROM unnest(parents) WITH ORDINALITY AS p(oid, place)
        LEFT JOIN pg_class c ON c.oid = p.oid
        LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = ANY (used) AND NOT a.attisdropped
    ) parts
$$;

-- The columns of a table that travel as values when it is no longer what it was at installation: everything but what
-- the installation set apart (local ids, references, excluded columns) and what PostgreSQL generates.
CREATE FUNCTION dbsync.value_columns(self regclass, set_apart text[]) RETURNS TABLE (name text, type text, output text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), t.typoutput::regproc::text
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = self AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
      AND NOT a.attname::text = ANY (set_apart)
    ORDER BY a.attnum
$$;

-- Finds or adds the layout of a table that has drifted, and fills its columns into a capture statement.
CREATE FUNCTION dbsync.drifted(self regclass, base jsonb, set_apart text[], template text) RETURNS text
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    names      text[];
    outputs    text[];
    definition jsonb;
    layout_id  bigint;
BEGIN
    SELECT coalesce(array_agg(c.name), '{}'), coalesce(array_agg(c.output), '{}'),
           jsonb_set(base, '{columns}', coalesce(jsonb_agg(jsonb_build_array(c.name, c.type)), '[]'))
    INTO names, outputs, definition
    FROM dbsync.value_columns(self, set_apart) c;
    layout_id := hashtextextended(definition::text, 0);
    IF NOT EXISTS (SELECT FROM dbsync.layout l WHERE l.id = layout_id) THEN
        INSERT INTO dbsync.layout (id, relation, definition)
        VALUES (layout_id, (definition -> 'table' ->> 0) || '.' || (definition -> 'table' ->> 1), definition);
    END IF;
    RETURN replace(replace(replace(replace(replace(template,
        '<<layout>>', layout_id::text),
        '<<n.texts>>', (SELECT coalesce(string_agg(format('textin(%s(n.%I))', f, c), ', '), '')
                         FROM unnest(names, outputs) u(c, f))),
        '<<o.texts>>', (SELECT coalesce(string_agg(format('textin(%s(o.%I))', f, c), ', '), '')
                         FROM unnest(names, outputs) u(c, f))),
        '<<n.columns>>', (SELECT coalesce(string_agg(format('n.%I, ', c), ''), '') FROM unnest(names) c)),
        '<<o.columns>>', (SELECT coalesce(string_agg(format('o.%I, ', c), ''), '') FROM unnest(names) c));
END
$$;

-- The natural key of any registered row by its local id, for generic references. A local id that cannot be one (a text
-- column holds anything) gives null, never an error: capture must not break the application's statement.
CREATE FUNCTION dbsync.key_of(target text, identity text) RETURNS text[]
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    query text;
    found text[];
BEGIN
    SELECT r.key_query INTO query FROM dbsync.relation r WHERE r.relation = target;
    IF query IS NULL OR identity IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE query INTO found USING identity;
    RETURN found;
EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
    RETURN NULL;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA dbsync FROM PUBLIC;
