-- A database that was restored gets again what it lost, and what its own people did since may be overruled by it. The tier above has the
-- former from the life that was lost, but not on top of the latter: then it must not be told that it has it already.
ALTER TABLE dbsync.receipt ADD overruled boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN dbsync.receipt.overruled IS
    'Whether a change of it won over other values here than its node had met: a restored database passes it on once more.';
