-- What a restored database overrules while it gets again what it lost goes up once more, and nothing beside it: the rest is above
-- already, and rows that exchanged their keys would exchange them again. So the changes themselves are noted, not that there are any.
ALTER TABLE dbsync.receipt ADD overruling bigint[] DEFAULT '{}';
UPDATE dbsync.receipt SET overruling = NULL WHERE overruled;
ALTER TABLE dbsync.receipt DROP overruled;
COMMENT ON COLUMN dbsync.receipt.overruling IS
    'Changes of that transaction, by seq, that won over other values here than the node had met, or came to such a row later; null where it cannot be told which.';
ALTER TABLE dbsync.receipt ADD part uuid;
COMMENT ON COLUMN dbsync.receipt.part IS
    'What stands for the batch above where that transaction holds a part of it: made of the node, of this one and of what is lacking.';
CREATE INDEX conflict_key ON dbsync.conflict USING hash (key);
GRANT UPDATE (overruling, part) ON dbsync.receipt TO dbsync_replicator;
