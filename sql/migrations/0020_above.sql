-- How far the tier above has a node's batches is asked at each contact. After a restore the receipts of the life before do not count, and
-- there may be years of them: the index leaves them out. A server that passes nothing on has no life in its receipts.
CREATE INDEX receipt_life ON dbsync.receipt (life, node, incarnation, link, number) WHERE life IS NOT NULL;
