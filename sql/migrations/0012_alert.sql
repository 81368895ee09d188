-- What is the matter with this node, as somebody was told.

CREATE TABLE dbsync.alert (
    program   text NOT NULL,
    alert     text NOT NULL,
    subject   text NOT NULL,
    severity  text NOT NULL,
    what      text NOT NULL,
    hint      text NOT NULL,
    level     bigint NOT NULL,
    since     timestamptz NOT NULL,
    told_at   timestamptz,
    trouble   text,
    PRIMARY KEY (program, alert, subject)
);
COMMENT ON TABLE dbsync.alert IS 'What stands now, by the program that tells it. told_at: when somebody heard of it; trouble: why somebody did not.';

REVOKE ALL ON dbsync.alert FROM PUBLIC;
GRANT SELECT, INSERT, UPDATE, DELETE ON dbsync.alert TO dbsync_replicator;
GRANT SELECT ON dbsync.alert TO dbsync_reader;
