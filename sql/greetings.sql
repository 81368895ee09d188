-- What nodes tell of themselves.

-- name: keep
-- The newest of each node.
INSERT INTO dbsync.greeting (node, program, schema, clock_off, pending, exact, oldest, carried)
VALUES (%(node)s, %(program)s, %(schema)s, %(clock_off)s, %(pending)s, %(exact)s, %(oldest)s, %(carried)s)
ON CONFLICT (node) DO UPDATE
SET at = clock_timestamp(), program = excluded.program, schema = excluded.schema, clock_off = excluded.clock_off,
    pending = excluded.pending, exact = excluded.exact, oldest = excluded.oldest, carried = excluded.carried

-- name: all
SELECT g.node, g.at, g.program, g.schema, g.clock_off, g.pending, g.exact, g.oldest, g.carried FROM dbsync.greeting g
