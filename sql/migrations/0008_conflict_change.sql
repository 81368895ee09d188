-- Whether a change stands in the ledger already is asked for each one that a person is to decide: by its place, and not by a
-- walk through all that was ever decided.
CREATE INDEX conflict_change ON dbsync.conflict (incarnation, number, tx, seq);
