-- A node that had been revoked and was invited anew was still known by its keys of before the revocation, which whoever stole it has.
-- Those are the keys that were there before the node was let in and were retired after: a key that it rotated out since then came
-- with that enrolment or later, and goes on telling whose the sticks are that were under way. Upstreams are pinned, and signed nothing here.
UPDATE dbsync.peer_key k SET until = p.enrolled_at
FROM dbsync.peer p
WHERE p.name = k.peer AND p.role <> 'upstream' AND k.since < p.enrolled_at AND k.until > p.enrolled_at;

-- Whether a database came under another name before is asked at each batch: two looks at the index, as for its other lives and links.
CREATE INDEX receipt_source ON dbsync.receipt (lineage, node, incarnation, link);
DROP INDEX dbsync.receipt_lineage;
