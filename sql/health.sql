-- What `dbsync check` asks of a server's and a log's health: from the statistics that PostgreSQL keeps anyway, from samples of
-- pages, and by indexes. No table is counted.

-- name: timeouts
-- What a session of this role gets that sets nothing itself: `reset_val`, for this very one has set its own. In milliseconds.
SELECT s.name, s.reset_val::bigint
FROM pg_settings s
WHERE s.name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')
  AND s.reset_val::bigint BETWEEN 1 AND %(least)s
ORDER BY s.name

-- name: open_transactions
-- In this database: what is open elsewhere keeps nothing of ours.
SELECT a.pid, a.usename::text, a.application_name, a.state, extract(epoch FROM clock_timestamp() - a.xact_start)::float8
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_type = 'client backend'
  AND a.xact_start < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY a.xact_start LIMIT 5

-- name: hidden_sessions
-- Of other roles, where this one may not see what they do.
SELECT EXISTS (SELECT FROM pg_stat_activity a
               WHERE a.datname = current_database() AND a.query = '<insufficient privilege>')

-- name: prepared_transactions
SELECT p.gid, extract(epoch FROM clock_timestamp() - p.prepared)::float8
FROM pg_prepared_xacts p
WHERE p.database = current_database() AND p.prepared < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY p.prepared LIMIT 5

-- name: autovacuum
-- Whether it is at work at all, and which of dbsync's tables are kept from it.
SELECT current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on',
       ARRAY(SELECT c.oid::regclass::text
             FROM pg_class c CROSS JOIN LATERAL pg_options_to_table(c.reloptions) o
             WHERE c.relnamespace = to_regnamespace('dbsync') AND c.relkind = 'r'
               AND o.option_name = 'autovacuum_enabled' AND NOT o.option_value::bool ORDER BY 1)

-- name: transaction_ids
SELECT age(d.datfrozenxid)::bigint, current_setting('autovacuum_freeze_max_age')::bigint
FROM pg_database d WHERE d.datname = current_database()

-- name: idle_slots
-- What keeps more of the write-ahead log than the server would, though nobody reads it.
SELECT s.slot_name::text, s.wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint
FROM pg_replication_slots s
WHERE NOT s.active AND s.wal_status IN ('extended', 'unreserved')
ORDER BY s.slot_name LIMIT 5

-- name: archiver
SELECT a.failed_count, extract(epoch FROM clock_timestamp() - a.last_failed_time)::float8
FROM pg_stat_archiver a
WHERE current_setting('archive_mode') <> 'off' AND a.last_failed_time > coalesce(a.last_archived_time, '-infinity')

-- name: places
-- Where the server keeps this database. The data directory is told to members of pg_read_all_settings only.
SELECT (SELECT s.setting FROM pg_settings s WHERE s.name = 'data_directory'),
       ARRAY(SELECT DISTINCT pg_tablespace_location(t.oid)
             FROM pg_tablespace t
             WHERE pg_tablespace_location(t.oid) <> ''
               AND (t.oid = (SELECT d.dattablespace FROM pg_database d WHERE d.datname = current_database())
                    OR EXISTS (SELECT FROM pg_class c WHERE c.reltablespace = t.oid))
             ORDER BY 1)

-- name: node
SELECT n.name, n.lineage, n.incarnation, n.created_at, n.capture_off_since, n.paused_since,
       n.system_identifier <> c.system_identifier AS reloaded
FROM dbsync.node n CROSS JOIN pg_control_system() c

-- name: unread
-- Whether there is any change, and the links that were to ship it.
SELECT EXISTS (SELECT FROM dbsync.change), ARRAY(SELECT l.name FROM dbsync.link l ORDER BY l.name)

-- name: links
-- `waits`: seconds for which the first change behind the link's cursor is here, by the index.
SELECT l.name, l.state, extract(epoch FROM clock_timestamp() - l.contact_at)::float8 AS away, l.clock_off,
       (SELECT coalesce(sum(q.value::bigint), 0)::bigint FROM jsonb_each_text(l.quarantined) q) AS quarantined,
       (SELECT extract(epoch FROM clock_timestamp() - c.captured_at)::float8
        FROM dbsync.change c
        WHERE c.xid >= coalesce(pg_snapshot_xmax(l.cursor), '0'::xid8)
        ORDER BY c.xid, c.seq LIMIT 1) AS waits,
       l.last_number > 0 OR EXISTS (SELECT FROM dbsync.sent s WHERE s.link = l.name AND s.acknowledged_at IS NOT NULL)
           AS acknowledged
FROM dbsync.link l ORDER BY l.name

-- name: quarantine
-- Of one source, or of all: how many wait, up to so many, of them how many came in the last day and in the day before, and how
-- long the oldest waits.
SELECT count(*), count(*) FILTER (WHERE q.age < 86400), count(*) FILTER (WHERE q.age BETWEEN 86400 AND 172800), max(q.age)
FROM (SELECT extract(epoch FROM clock_timestamp() - w.quarantined_at)::float8 AS age
      FROM dbsync.quarantine w
      WHERE w.state = 'waiting' AND (%(lineage)s::uuid IS NULL OR w.lineage = %(lineage)s)
      ORDER BY w.lineage, w.id LIMIT %(most)s) q

-- name: lineage_of
-- Which database a batch came from, unless that has come under another name since.
SELECT r.lineage FROM dbsync.receipt r
WHERE r.node = %(node)s AND r.incarnation = %(incarnation)s AND r.link = %(link)s AND r.number = %(number)s
  AND NOT EXISTS (SELECT FROM dbsync.receipt later
                  WHERE later.lineage = r.lineage AND later.node <> r.node AND later.applied_at > r.applied_at)

-- name: silent_peers
SELECT p.name, extract(epoch FROM clock_timestamp() - coalesce(p.seen_at, p.enrolled_at))::float8
FROM dbsync.peer p
WHERE p.role <> 'upstream' AND p.enrolled_at IS NOT NULL AND p.revoked_at IS NULL
  AND coalesce(p.seen_at, p.enrolled_at) < clock_timestamp() - make_interval(secs => %(seconds)s)
ORDER BY p.name

-- name: clock
SELECT clock_timestamp()

-- name: invalid_indexes
-- Left behind by a CREATE INDEX CONCURRENTLY that failed: kept up to date, and used by nobody.
SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text, i.indisunique
FROM unnest(%(schemas)s::text[], %(names)s::text[]) wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
JOIN pg_index i ON i.indrelid = c.oid AND NOT i.indisvalid
WHERE NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1, 2

-- name: unindexed_references
-- Foreign keys of large tables whose columns no index begins with: each delete of a row they refer to reads the whole table.
SELECT n.nspname::text, c.relname::text, t.oid::regclass::text, greatest(c.reltuples, 0)::bigint,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (number, place)
             JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place)
FROM unnest(%(schemas)s::text[], %(names)s::text[]) wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name AND c.reltuples >= %(large)s
JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f'
JOIN pg_class t ON t.oid = k.confrelid
WHERE NOT EXISTS (
    SELECT FROM pg_index i
    WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
      AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
ORDER BY 1, 2, k.conname

-- name: leading_index
-- Whether rows can be found by one column, and how many there are about.
SELECT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %(column)s
               WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND (i.indkey::int2[])[0] = a.attnum),
       greatest(c.reltuples, 0)::bigint, c.relpages::bigint, has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s

-- name: types_referred_to
-- Which models' names stand in a generic reference, of those that are in the content type table and none of the known ones:
-- one look into the index for each. The subquery with LIMIT stays one: as a join it would read the whole table.
SELECT k.label
FROM (SELECT pg_catalog.array_to_string({leaves}, '.') AS label, {identity} AS identity FROM {types} t {joins}) k
WHERE k.label <> ALL ({known}::text[]) AND (SELECT true FROM {table} r WHERE r.{column} = k.identity LIMIT 1)
ORDER BY k.label

-- name: common_types
-- The same by what the last ANALYZE saw most often, where no index helps and the table is large.
SELECT k.label
FROM (SELECT pg_catalog.array_to_string({leaves}, '.') AS label, {identity} AS identity FROM {types} t {joins}) k
WHERE k.label <> ALL ({known}::text[]) AND k.identity::text = ANY (
    SELECT unnest(s.most_common_vals::text::text[]) FROM pg_stats s
    WHERE s.schemaname = {schema} AND s.tablename = {name} AND s.attname = {attribute})
ORDER BY k.label

-- name: stored_apart
-- How much of a table is stored in pieces beside it: only such values are large.
SELECT n.nspname::text, c.relname::text, pg_relation_size(c.reltoastrelid), pg_relation_size(c.oid) / 8192
FROM unnest(%(schemas)s::text[], %(names)s::text[]) wanted (schema, name)
JOIN pg_namespace n ON n.nspname = wanted.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
WHERE pg_relation_size(nullif(c.reltoastrelid, 0)) >= %(bytes)s AND has_table_privilege(c.oid, 'SELECT')

-- name: largest_row
-- Lengths are told without reading the values. Of a large table only some of its pages are looked at.
SELECT coalesce(max({together}), 0)::bigint, {each} FROM {table} r {sample}

-- name: sample
TABLESAMPLE SYSTEM ({percent})
