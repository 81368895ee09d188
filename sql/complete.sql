-- What a shell offers while somebody types. Each gives a word and, for shells that show it, what it means.

-- name: registered
-- Tables with triggers, and those that only resolve references.
SELECT r.relation, r.mode FROM dbsync.relation r ORDER BY r.relation

-- name: present
-- Tables of the application, by schema and name.
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'dbsync')
ORDER BY 1, 2

-- name: cases
-- Cases that wait, the newest first; what waits behind them is decided with them.
SELECT q.id::text, q.relation || ' (' || pg_catalog.array_to_string(q.key, ', ', 'null') || ') ' || q.conflict
FROM dbsync.quarantine q
WHERE q.state = 'waiting' AND q.behind IS NULL
ORDER BY q.id DESC
LIMIT 200

-- name: conflicts
-- The newest of the ledger.
SELECT c.id::text, c.relation || ' (' || pg_catalog.array_to_string(c.key, ', ', 'null') || ') ' || c.conflict
FROM dbsync.conflict c
ORDER BY c.id DESC
LIMIT 200

-- name: peers
-- Who may speak to this node.
SELECT p.name, p.role FROM dbsync.peer p WHERE p.role <> 'upstream' ORDER BY p.name

-- name: lists
-- Boxes that were checked, the newest first.
SELECT l.id::text, l.made_by || ', ' || pg_catalog.to_char(l.made_at, 'YYYY-MM-DD HH24:MI')
FROM dbsync.list l
ORDER BY l.made_at DESC
LIMIT 200
