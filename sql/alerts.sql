-- name: kept
SELECT a.alert, a.subject, a.severity, a.what, a.hint, a.level, a.since, a.told_at, a.trouble
FROM dbsync.alert a
WHERE %(program)s::text IS NULL OR a.program = %(program)s
ORDER BY a.since, a.alert, a.subject

-- name: forget
DELETE FROM dbsync.alert a WHERE a.program = %(program)s

-- name: keep
INSERT INTO dbsync.alert (program, alert, subject, severity, what, hint, level, since, told_at, trouble)
VALUES (%(program)s, %(alert)s, %(subject)s, %(severity)s, %(what)s, %(hint)s, %(level)s, %(since)s, %(told_at)s, %(trouble)s)

-- name: node
SELECT (SELECT n.capture_off_since FROM dbsync.node n), (SELECT n.paused_since FROM dbsync.node n),
       (SELECT count(*) FROM dbsync.quarantine q WHERE q.state = 'waiting'),
       (SELECT count(*) FROM dbsync.relation r
        CROSS JOIN pg_namespace n
        JOIN pg_class c ON c.relnamespace = n.oid AND r.relation = n.nspname || '.' || c.relname AND c.relkind IN ('r', 'p')
        WHERE r.mode = 'ship' AND (
            SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
            WHERE t.tgrelid = c.oid AND p.pronamespace = 'dbsync'::regnamespace AND t.tgenabled IN ('O', 'A')
              AND t.tgtype & 28 <> 0) < 3),
       clock_timestamp()

-- name: link
SELECT l.state, l.state_since, l.contact_at, (SELECT coalesce(sum(q.value::bigint), 0) FROM jsonb_each_text(l.quarantined) q)::bigint,
       {claimed}
FROM dbsync.link l WHERE l.name = %(link)s
