-- What the application's own rows tell of references that were left open: dbsync/changelog/living.py.

-- name: living
-- The row as it is now says its key, where the installation knows how to find it by that column, and it is the key that is
-- meant: another one may have been configured since the change was captured.
SELECT m.xid, m.seq, m.id, found.key
FROM dbsync.relation r, ({untold}) m, LATERAL (SELECT dbsync.key_of(r.relation, m.id) AS key) found
WHERE r.relation = {relation} AND position({by_target_column} IN r.key_query) > 0
  AND coalesce(r.key_tree = {tree}, true) AND array_remove(found.key, NULL) <> '{{}}'

-- name: any_living
SELECT EXISTS ({living})

-- name: renamed
-- Changes after which a row of one of the tables that the key runs through had the key it then has: the leaves of that table
-- among those of the whole key, from first to last.
SELECT c.xid, c.seq, {first} AS first, {last} AS last, {leaves} AS leaves, NULL::text AS gone
FROM dbsync.change c WHERE c.layout = {layout} AND c.renames

-- name: deleted
-- The id may have been given to another row since.
SELECT c.xid, c.seq, NULL::int AS first, NULL::int AS last, NULL::text[] AS leaves, c.local_id AS gone
FROM dbsync.change c WHERE c.layout = {layout} AND c.op = 'D'

-- name: stitch_living
-- Whatever renamed the row since, or a row that its key runs through, the last of it gave the key its present leaves. A
-- transaction that ended later is taken for one that came later, whatever its changes were before. One walk through the log, and
-- only where a row was found: those changes that are behind the one in question have no receipt yet, so none of them is purged.
WITH living AS MATERIALIZED ({living}),
since AS MATERIALIZED (
    SELECT n.*, (SELECT max(l.seq) FROM dbsync.change l WHERE l.xid = n.xid) AS last_seq FROM ({changes}) n
)
UPDATE dbsync.change c
SET {column} = c.{column}[:{before}] || p.key || c.{column}[{behind}:],
    unresolved = {still_untold}
FROM living p
WHERE c.xid = p.xid AND c.seq = p.seq
  AND NOT EXISTS (SELECT FROM since n
                  WHERE (n.leaves = p.key[n.first:n.last] OR n.gone = p.id)
                    AND CASE WHEN n.xid = p.xid THEN n.seq ELSE n.last_seq END > p.seq)

-- name: layouts
-- All that changes of some tables were ever written in.
SELECT DISTINCT ON (l.id) l.id, l.definition FROM dbsync.layout l WHERE l.relation = ANY (%(relations)s) ORDER BY l.id
