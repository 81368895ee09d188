-- Comparisons with an upstream that no line leads to: each takes visits of a stick, and goes on where it was.

CREATE TABLE dbsync.comparison (
    link          text PRIMARY KEY REFERENCES dbsync.link ON DELETE CASCADE,
    begun_at      timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    patterns      text[] NOT NULL,
    ignore_extra  boolean NOT NULL,
    size          bigint NOT NULL,
    repair        boolean NOT NULL,
    repaired      bigint,
    upstream      jsonb NOT NULL,
    question      uuid,
    asked         text[],
    asked_at      timestamptz,
    number        bigint,
    paper         bytea,
    signature     bytea,
    answered_at   timestamptz,
    settled_at    timestamptz,
    told_at       timestamptz,
    named         boolean NOT NULL DEFAULT false,
    trouble       text
);
ALTER TABLE dbsync.comparison ALTER paper SET STORAGE EXTERNAL;  -- it is compressed already
COMMENT ON TABLE dbsync.comparison IS 'The newest comparison of each link that goes by stick, and the question that is under way.';
COMMENT ON COLUMN dbsync.comparison.upstream IS 'What the upstream''s tables are, where it said that they are not as here.';
COMMENT ON COLUMN dbsync.comparison.number IS 'With this batch the upstream has all that was there at asked_at.';

CREATE TABLE dbsync.compared (
    link             text NOT NULL REFERENCES dbsync.comparison ON DELETE CASCADE,
    relation         text COLLATE "C" NOT NULL,
    ask              text NOT NULL CHECK (ask IN ('whole', 'listed', 'nothing')),
    source_rows      bigint NOT NULL DEFAULT 0,
    upstream_rows    bigint NOT NULL DEFAULT 0,
    extra            bigint NOT NULL DEFAULT 0,
    other_origin     bigint NOT NULL DEFAULT 0,
    otherwise        int NOT NULL DEFAULT 0,
    missing_columns  text[] NOT NULL DEFAULT '{}',
    notes            text[] NOT NULL DEFAULT '{}',
    problem          text NOT NULL DEFAULT '',
    PRIMARY KEY (link, relation)
);
COMMENT ON TABLE dbsync.compared IS 'The tables of a comparison: what is still to be asked about each, and what came out.';

CREATE TABLE dbsync.difference (
    link        text NOT NULL,
    relation    text COLLATE "C" NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('missing', 'different', 'uncaptured')),
    place       bigint NOT NULL,
    digest      bigint NOT NULL,
    times       int NOT NULL,
    settled     boolean NOT NULL,
    asked       boolean NOT NULL,
    key         text[],
    local_id    text[],
    columns     text[],
    FOREIGN KEY (link, relation) REFERENCES dbsync.compared ON DELETE CASCADE
);
CREATE INDEX difference_relation ON dbsync.difference (link, relation);
COMMENT ON TABLE dbsync.difference IS 'Rows of this node that the upstream has not, or has otherwise; those not settled are asked about once more.';
COMMENT ON COLUMN dbsync.difference.place IS 'A hash of the row''s key; digest is one of its contents.';

REVOKE ALL ON dbsync.comparison, dbsync.compared, dbsync.difference FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON dbsync.comparison, dbsync.compared, dbsync.difference TO dbsync_replicator;
GRANT SELECT ON dbsync.compared TO dbsync_reader, dbsync_web;
GRANT SELECT (link, begun_at, patterns, ignore_extra, size, repair, repaired, upstream, question, asked, asked_at, number, signature,
              answered_at, settled_at, told_at, named, trouble)
    ON dbsync.comparison TO dbsync_reader, dbsync_web;
GRANT SELECT (link, relation, kind, times, settled, asked, columns) ON dbsync.difference TO dbsync_reader, dbsync_web;
