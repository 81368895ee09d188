-- What could not be applied here, and what was decided where two sides had changed the same row.

CREATE TABLE dbsync.quarantine (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state           text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'released', 'skipped')),
    node            text NOT NULL,
    lineage         uuid NOT NULL,
    incarnation     uuid NOT NULL,
    number          bigint NOT NULL,
    arrival         bigint NOT NULL,
    tx              bigint NOT NULL,
    seq             bigint NOT NULL,
    captured_at     timestamptz NOT NULL,
    relation        text COLLATE "C" NOT NULL,
    layout          bigint NOT NULL,
    op              "char" NOT NULL,
    renames         boolean NOT NULL,
    image           text[],
    old_image       text[],
    refs            text[],
    old_refs        text[],
    lost            boolean[],
    origin          text,
    key             text[] COLLATE "C",
    old_key         text[] COLLATE "C",
    refers          text[] COLLATE "C",
    conflict        text NOT NULL,
    reason          text NOT NULL,
    behind          bigint REFERENCES dbsync.quarantine ON DELETE SET NULL,
    awaits          text COLLATE "C",
    awaits_key      text[] COLLATE "C",
    awaits_column   text COLLATE "C",
    quarantined_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    attempts        integer NOT NULL DEFAULT 1,
    tried_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
    decided_at      timestamptz,
    decided_by      text,
    decision        text
);
CREATE INDEX quarantine_waiting ON dbsync.quarantine (lineage, id) WHERE state = 'waiting';
CREATE INDEX quarantine_behind ON dbsync.quarantine (behind) WHERE behind IS NOT NULL;
CREATE INDEX quarantine_awaits ON dbsync.quarantine (awaits) WHERE state = 'waiting' AND awaits IS NOT NULL;
COMMENT ON TABLE dbsync.quarantine IS
    'Changes of nodes that could not be applied here. behind: the case it waits behind; refers: the rows its references run through; awaits: the table, key or column it waits for; (arrival, tx, seq): their order.';

CREATE TABLE dbsync.conflict (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    found_at        timestamptz NOT NULL DEFAULT pg_catalog.now(),
    conflict        text NOT NULL,
    relation        text COLLATE "C" NOT NULL,
    key             text[] COLLATE "C",
    node            text NOT NULL,
    incarnation     uuid NOT NULL,
    number          bigint NOT NULL,
    tx              bigint NOT NULL,
    seq             bigint NOT NULL,
    captured_at     timestamptz NOT NULL,
    origin          text,
    rule            text NOT NULL,
    decision        text NOT NULL,
    columns         text[],
    row_id          jsonb,
    source_image    jsonb,
    upstream_image  jsonb,
    undone_at       timestamptz,
    undone_by       text
);
CREATE INDEX conflict_relation ON dbsync.conflict (relation, id);
COMMENT ON TABLE dbsync.conflict IS
    'The ledger: every row that two sides had changed, what each wanted (column: text), the rule and the decision. row_id: its primary key here.';

ALTER TABLE dbsync.link ADD quarantined jsonb NOT NULL DEFAULT '{}', ADD clock_off double precision;
COMMENT ON COLUMN dbsync.link.quarantined IS 'Changes of this node that waited upstream at the last contact, by table.';
COMMENT ON COLUMN dbsync.link.clock_off IS 'Seconds by which this clock was ahead of the upstream''s at the last contact.';
