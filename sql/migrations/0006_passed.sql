-- What a tier passes on of its nodes, told to the tier above: there the same transactions may come by another way too.

-- The transaction in which a batch was applied here, as the tier above knows it: the number of its last change, and the
-- moment of that change. Null where nothing is captured, or where what was captured is not all that the batch held.
ALTER TABLE dbsync.receipt ADD tx bigint, ADD moment timestamptz;
CREATE INDEX receipt_tx ON dbsync.receipt (tx) WHERE tx IS NOT NULL;
-- Whether transactions are here is asked by their numbers, and new ones have the highest.
CREATE INDEX receipt_span ON dbsync.receipt (lineage, last_tx);
COMMENT ON COLUMN dbsync.receipt.tx IS 'The transaction here that holds the whole batch, by the last number it has in dbsync.change.';

ALTER TABLE dbsync.receipt ADD retries integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN dbsync.receipt.retries IS 'How often the batch was undone by a deadlock with others and written again.';
GRANT UPDATE (tx, moment, retries) ON dbsync.receipt TO dbsync_replicator;

CREATE TABLE dbsync.passed (
    node          text NOT NULL,
    incarnation   uuid NOT NULL,
    link          text NOT NULL,
    number        bigint NOT NULL,
    via           bigint NOT NULL,
    lineage       uuid NOT NULL,
    first_tx      bigint NOT NULL,
    last_tx       bigint NOT NULL,
    transactions  bigint[] NOT NULL,
    moments       timestamptz[] NOT NULL,
    PRIMARY KEY (node, incarnation, link, number, via, lineage)
);
CREATE INDEX passed_span ON dbsync.passed (lineage, last_tx);
COMMENT ON TABLE dbsync.passed IS
    'Transactions of other nodes that batches brought here: via is the transaction of the batch that holds them all.';
REVOKE ALL ON dbsync.passed FROM PUBLIC;
GRANT SELECT, INSERT ON dbsync.passed TO dbsync_replicator;
GRANT SELECT ON dbsync.passed TO dbsync_reader;
