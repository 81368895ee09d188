-- name: function_body
-- One function a table, for its four triggers. The first guard is folded into the cached plan: it costs nothing until the
-- table or one its key runs through is altered. Then the static statements may no longer fit, and the same ones are made
-- anew from the table as it is. Statements hold no variables, so each is planned once a session.
BEGIN
    {detached}
    IF dbsync.shape({table}::regclass, ARRAY[{parents}]::regclass[], {used}) = {shape} THEN
        IF TG_OP = 'INSERT' THEN
            {insert};
        ELSIF TG_OP = 'UPDATE' THEN
            {update};
        ELSIF TG_OP = 'DELETE' THEN
            {delete};
        END IF;
        RETURN NULL;
    END IF;
    BEGIN
        IF TG_OP = 'INSERT' THEN
            {drifted_insert};
        ELSIF TG_OP = 'UPDATE' THEN
            {drifted_update};
        ELSIF TG_OP = 'DELETE' THEN
            {drifted_delete};
        END IF;
    EXCEPTION WHEN syntax_error_or_access_rule_violation OR datatype_mismatch THEN
        -- Something the key runs through is gone: captured all the same, to be looked at by a person later.
        IF TG_OP = 'INSERT' THEN
            {unkeyed_insert};
        ELSIF TG_OP = 'UPDATE' THEN
            {unkeyed_update};
        ELSIF TG_OP = 'DELETE' THEN
            {unkeyed_delete};
        END IF;
    END;
    RETURN NULL;
END

-- name: detached
-- A partition that was detached keeps its triggers, and is a table of its own: what happens to its rows happens to none of this one's.
IF TG_RELID <> {table}::regclass AND pg_partition_root(TG_RELID) IS DISTINCT FROM {table}::regclass THEN
        RETURN NULL;
    END IF;

-- name: execute
-- A statement made for the table as it is now.
EXECUTE {before} dbsync.drifted(TG_RELID, {base}, {set_apart}, {template})

-- name: log_insert
INSERT INTO dbsync.change (layout, op, image, refs, local_id, unresolved)
SELECT {layout}, {op}, {image}, {refs}, {local_id}, {unresolved}
FROM {rows} n {lookups}
WHERE {wanted}

-- name: wanted
-- Capture's switch, asked within the statement: a statement of its own would cost a tenth of a single-row insert.
(SELECT here.capture_off_since IS NULL FROM dbsync.node here)

-- name: log_update
-- Old and new rows of one statement come in the same order, also when the primary key changes; numbering pairs them.
-- The join is FULL though neither side has more rows: a full join is never a nested loop, which is what a plan cached from
-- a single-row update would be, and which a bulk update later in the session would never finish.
-- A row whose every byte stayed the same (Django's save() writes all columns) leaves no change.
-- The clock is read once a statement: keys that one statement renames change at the same moment, those that two statements
-- of one transaction rename one after the other (A becomes B, then C), and upstream tells them apart by this.
INSERT INTO dbsync.change
    (captured_at, layout, op, image, old_image, renames, refs, old_refs, local_id, old_local_id, unresolved)
SELECT (SELECT pg_catalog.clock_timestamp()), {layout}, 'U', {image}, {old_image}, {renames}, {refs}, {old_refs},
       {local_id}, {old_local_id}, {unresolved}
FROM (SELECT pg_catalog.row_number() OVER () AS dbsync_place, * FROM old_rows) o
FULL JOIN (SELECT pg_catalog.row_number() OVER () AS dbsync_place, * FROM new_rows) n
    ON n.dbsync_place OPERATOR(pg_catalog.=) o.dbsync_place {lookups}
WHERE {wanted} AND pg_catalog.record_image_ne(ROW({compared_old}), ROW({compared_new}))

-- name: lookup
-- OFFSET 0 keeps the subquery whole, so that each key is looked up once though it is used twice.
CROSS JOIN LATERAL (SELECT {expressions} {told} OFFSET 0) q

-- name: found_or_again
-- What was waited for may have moved: dbsync/capture/again.py.
coalesce({key}, CASE WHEN {refers} THEN {function}({place}, {ids}) END)

-- name: again_body
-- VOLATILE and in READ COMMITTED, so each statement sees what was committed before it; under the other isolations a statement
-- that has waited for somebody's change is an error.
DECLARE
    key pg_catalog.text[];
BEGIN
    FOR attempt IN 1..{attempts} LOOP
        {cases}
        EXIT WHEN key IS NOT NULL;
    END LOOP;
    RETURN key;
EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation THEN
    RETURN NULL;  -- after a migration the column may hold what its type of before cannot: the reader looks for the key
END

-- name: again_case
-- A row that is not there (deleted by the cascade that deletes this one, or yet to come) is not waited for.
IF place OPERATOR(pg_catalog.=) {place} THEN
    EXIT WHEN NOT EXISTS (SELECT FROM {target} t WHERE {points_to});
    key := {key};
END IF;

-- name: new_row_keys
INSERT INTO dbsync.row_key (relation, local_id, row_key)
SELECT {relation}, {local_id}, pg_catalog.gen_random_uuid() FROM {rows} n
ON CONFLICT (relation, local_id) DO NOTHING

-- name: moved_row_keys
-- A primary key that changed takes its UUID along; sorting makes all old entries go before a new one comes. A row that has no
-- UUID gets one now: it was there before the triggers, or came while they were disabled. Most updates do neither, and asking
-- costs a row less than doing nothing. The UUID is asked for by a scalar subquery, for the reason that keys are, and nothing is
-- joined with the table of all of them.
IF EXISTS (
    SELECT FROM ({pairs}) p
    WHERE p.new_id <> p.old_id
       OR (SELECT k.row_key FROM dbsync.row_key k WHERE k.relation = {relation} AND k.local_id = p.old_id LIMIT 1) IS NULL
) THEN
    WITH pairs AS ({pairs}),
    told AS (
        SELECT p.new_id, p.old_id,
               (SELECT k.row_key FROM dbsync.row_key k WHERE k.relation = {relation} AND k.local_id = p.old_id LIMIT 1) AS row_key
        FROM pairs p
    ),
    gone AS (
        DELETE FROM dbsync.row_key k
        WHERE k.row_key = ANY (ARRAY(SELECT t.row_key FROM told t WHERE t.new_id <> t.old_id))
        RETURNING 1
    )
    INSERT INTO dbsync.row_key (relation, local_id, row_key)
    SELECT {relation}, t.new_id, coalesce(t.row_key, pg_catalog.gen_random_uuid())
    FROM told t CROSS JOIN (SELECT count(*) FROM gone) went
    WHERE t.new_id <> t.old_id OR t.row_key IS NULL
    ORDER BY t.new_id
    ON CONFLICT (relation, local_id) DO NOTHING;
END IF

-- name: row_pairs
SELECT {local_id} AS new_id, {old_local_id} AS old_id
FROM (SELECT pg_catalog.row_number() OVER () AS dbsync_place, * FROM old_rows) o
FULL JOIN (SELECT pg_catalog.row_number() OVER () AS dbsync_place, * FROM new_rows) n USING (dbsync_place)

-- name: gone_row_keys
-- No join: its plan, cached from a bulk delete, would read all UUIDs for each single row that goes later in the session. Looked for
-- by its local id alone, all of its table's may be read and compared with each that goes.
DELETE FROM dbsync.row_key gone
WHERE gone.row_key = ANY (ARRAY(
    SELECT (SELECT k.row_key FROM dbsync.row_key k WHERE k.relation = {relation} AND k.local_id = {local_id} LIMIT 1) FROM old_rows n
))

-- name: reject_truncate_body
BEGIN
    RAISE EXCEPTION 'TRUNCATE of % is refused: dbsync captures its rows', TG_RELID::regclass
        USING HINT = 'Use DELETE, or set truncate = "capture" or "ignore" for this table in dbsync.toml.';
END

-- name: capture_truncate_body
-- Before the rows are gone: each leaves as a delete.
DECLARE
    of_these text := 'WITH old_rows AS (SELECT * FROM ' || {truncated} || ') ';
BEGIN
    {detached}
    IF {hidden} THEN
        {refuse_hidden};
    END IF;
    IF dbsync.shape({table}::regclass, ARRAY[{parents}]::regclass[], {used}) = {shape} THEN
        {delete};
        RETURN NULL;
    END IF;
    BEGIN
        {drifted_delete};
    EXCEPTION WHEN syntax_error_or_access_rule_violation OR datatype_mismatch THEN
        {unkeyed_delete};
    END;
    RETURN NULL;
EXCEPTION WHEN insufficient_privilege THEN
    {unreadable};
END

-- name: hidden
-- Whether policies may keep rows of a table from this role, for what it does with them: r to read, w to lock.
row_security_active({table}) AND EXISTS (
    SELECT FROM unnest({commands}::"char"[]) AS asked(command)
    WHERE NOT coalesce((
        SELECT bool_or(p.shows) FILTER (WHERE p.polpermissive) AND bool_and(p.polpermissive OR p.shows)
        FROM (SELECT p.polpermissive, coalesce(pg_get_expr(p.polqual, p.polrelid) = 'true', false) AS shows FROM pg_policy p
              WHERE p.polrelid = {table} AND p.polcmd IN (asked.command, '*')
                AND EXISTS (SELECT FROM unnest(p.polroles) AS r(role) WHERE r.role = 0 OR pg_has_role(r.role, 'USAGE'))) p), false))

-- name: hides
SELECT {hidden}

-- name: show_all
CREATE POLICY dbsync_backfill ON {table} TO {login} USING (true)

-- name: refuse_hidden
RAISE EXCEPTION 'TRUNCATE of % is refused: row-level security hides rows from dbsync', TG_RELID::regclass
    USING HINT = 'dbsync check says which policy shows them; or use DELETE.'

-- name: ignore_truncate_body
-- Nothing is logged; but a row that comes later may get the id of one that goes now, and is another row.
DECLARE
    of_these text := 'WITH old_rows AS (SELECT * FROM ' || {truncated} || ') ';
BEGIN
    {forget};
    RETURN NULL;
EXCEPTION
    WHEN insufficient_privilege THEN
        {unreadable};
    WHEN syntax_error_or_access_rule_violation OR datatype_mismatch THEN
        RETURN NULL;  -- the columns of its primary key are others by now
END

-- name: truncated_table
-- Under the name it has now; tables that inherit from it have triggers of their own, and TRUNCATE ONLY leaves them alone.
'ONLY ' || TG_RELID::regclass::text

-- name: truncated_partition
-- TRUNCATE of a partitioned table fires the triggers of all its partitions too, before the first row goes: each looks at the rows
-- of the table that it is on. Those in partitions that came later and have no trigger yet are left to the table above them.
TG_RELID::regclass::text || ' WHERE tableoid = ANY (' || quote_literal(ARRAY(
    WITH RECURSIVE its AS (
        SELECT TG_RELID AS oid
        UNION ALL
        SELECT i.inhrelid FROM its JOIN pg_inherits i ON i.inhparent = its.oid
        WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = i.inhrelid AND t.tgname = {trigger})
    )
    SELECT its.oid FROM its
)) || '::oid[])'

-- name: refuse_unreadable
-- Let through, its rows would stay upstream for good.
RAISE EXCEPTION 'TRUNCATE of % is refused: dbsync may not read its rows', TG_RELID::regclass
    USING HINT = 'dbsync install-triggers gives it that right; or use DELETE.'

-- name: execute_of_these
EXECUTE of_these || {statement}

-- name: all_row_keys
DELETE FROM dbsync.row_key k WHERE k.relation = {relation}

-- name: create_function
CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off SET enable_seqscan = off SET row_security = on
    SET TimeZone = 'UTC' SET DateStyle = 'ISO, YMD' SET IntervalStyle = 'postgres'
    SET extra_float_digits = 1 SET bytea_output = 'hex' SET lc_monetary = 'C' SET quote_all_identifiers = off
AS {body}

-- name: create_again
-- Called by capture statements alone, and with their rights and settings.
CREATE OR REPLACE FUNCTION {function} RETURNS pg_catalog.text[] LANGUAGE plpgsql VOLATILE AS {body}

-- name: secure_function
REVOKE ALL ON FUNCTION {function} FROM PUBLIC

-- name: take_turn
-- Two installations at once would change the schema's rights at once, which PostgreSQL answers with an error.
SELECT pg_advisory_xact_lock(hashtextextended('dbsync install', 0))

-- name: open_schema
-- A new owner must be allowed to make things where it is to own them: for this transaction only.
GRANT CREATE ON SCHEMA dbsync TO dbsync_capture

-- name: give_function
-- What runs in the application's transactions may add to the change log and nothing else: not even its owner, dbsync, is
-- safe from code that the owner of a table makes its readers run (a policy, a partial index, a view in the table's place).
ALTER FUNCTION {function} OWNER TO dbsync_capture

-- name: close_schema
REVOKE CREATE ON SCHEMA dbsync FROM dbsync_capture

-- name: create_trigger
CREATE OR REPLACE TRIGGER {trigger} {moment} {event} ON {table} {transition}
    FOR EACH STATEMENT EXECUTE FUNCTION {function}({fingerprint})

-- name: drop_trigger
DROP TRIGGER IF EXISTS {trigger} ON {table}

-- name: drop_function
DROP FUNCTION IF EXISTS {function}

-- name: grant_read
-- The owner of the capture functions reads the tables that keys run through, and of the others what rows are known by.
GRANT SELECT ON {table} TO dbsync_capture

-- name: grant_key
-- A migration may add a reference to any of them, and fill it before the triggers are renewed.
GRANT SELECT ({columns}) ON {table} TO dbsync_capture

-- name: grant_lock
-- Locking a row against a change of its key takes the right to update some column of it; nothing of ours ever does.
GRANT UPDATE ({column}) ON {table} TO dbsync_capture

-- name: not_granted
-- Of some tables, and the partitions of those whose TRUNCATE is captured, those that capture may not read, or whose rows it may
-- not lock: a grant by somebody who has no right to give it is a warning only.
SELECT n.nspname::text, c.relname::text
FROM unnest(%(schemas)s::text[], %(names)s::text[], %(locked)s::bool[], %(emptied)s::bool[])
    wanted (nspname, relname, locked, emptied)
JOIN pg_namespace its ON its.nspname = wanted.nspname
JOIN pg_class named ON named.relnamespace = its.oid AND named.relname = wanted.relname
CROSS JOIN LATERAL (
    SELECT named.oid, wanted.locked
    UNION ALL
    SELECT t.relid, false FROM pg_partition_tree(named.oid) t WHERE wanted.emptied AND t.relid <> named.oid
) member
JOIN pg_class c ON c.oid = member.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT (has_schema_privilege('dbsync_capture', n.oid, 'USAGE') AND has_table_privilege('dbsync_capture', c.oid, 'SELECT')
           AND (NOT member.locked OR has_any_column_privilege('dbsync_capture', c.oid, 'UPDATE')))
ORDER BY n.nspname, c.relname

-- name: schemas_not_granted
-- Of some schemas, those that capture may not look into.
SELECT n.nspname::text FROM pg_namespace n
WHERE n.nspname = ANY (%(schemas)s::text[]) AND NOT has_schema_privilege('dbsync_capture', n.oid, 'USAGE')
ORDER BY n.nspname

-- name: grant_schema
GRANT USAGE ON SCHEMA {schema} TO dbsync_capture

-- name: shape
SELECT dbsync.shape({table}::regclass, ARRAY[{parents}]::regclass[], {used})

-- name: register_relation
INSERT INTO dbsync.relation (relation, mode, layout, fingerprint, bodies, key_query, key_tree, key_width)
VALUES (%(relation)s, %(mode)s, %(layout)s, %(fingerprint)s, %(bodies)s, %(key_query)s, %(key_tree)s, %(key_width)s)
ON CONFLICT (relation) DO UPDATE
SET mode = excluded.mode, layout = excluded.layout, fingerprint = excluded.fingerprint, bodies = excluded.bodies,
    key_query = excluded.key_query, key_tree = excluded.key_tree, key_width = excluded.key_width, installed_at = now()

-- name: forget_relation
-- One that has become a lookup is registered as that already.
DELETE FROM dbsync.relation WHERE relation = %(relation)s AND mode = 'ship'

-- name: register_layout
INSERT INTO dbsync.layout (id, relation, definition)
SELECT %(id)s, %(relation)s, %(definition)s
WHERE NOT EXISTS (SELECT FROM dbsync.layout l WHERE l.id = %(id)s)

-- name: fill_row_keys
-- Rows that were there before the triggers get their UUID now; those captured meanwhile have one. Sorted, they are all written
-- at the end: a statement of the application that gives one of them its UUID at the same moment does not wait for the look.
INSERT INTO dbsync.row_key (relation, local_id, row_key)
SELECT {relation}, t.local_id, pg_catalog.gen_random_uuid()
FROM (SELECT {local_id} AS local_id FROM {table} n) t
WHERE NOT EXISTS (SELECT FROM dbsync.row_key k WHERE k.relation = {relation} AND k.local_id = t.local_id)
ORDER BY t.local_id
ON CONFLICT (relation, local_id) DO NOTHING

-- name: finish
-- Until this is said the triggers count as outdated, and the next installation makes up for one that was stopped.
UPDATE dbsync.relation SET fingerprint = %(fingerprint)s WHERE relation = %(relation)s

-- name: triggers
-- Every dbsync trigger in the database, partitions and tables no longer registered included; and whether its function is
-- still the one that was installed, and the installation came to its end. What was installed is read once, not once a
-- trigger: with hundreds of tables their functions are tens of megabytes.
WITH made AS MATERIALIZED (
    SELECT body.key AS function, body.value AS md5, r.fingerprint
    FROM dbsync.relation r
    CROSS JOIN LATERAL jsonb_each_text(r.bodies) body
)
SELECT n.nspname, c.relname, t.tgname, t.tgenabled, argument.fingerprint,
       p.prosecdef AND p.proowner = 'dbsync_capture'::regrole AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig)
           AND (p.proname::text, md5(p.prosrc)) IN (SELECT made.function, made.md5 FROM made) AS genuine,
       (p.proname::text, argument.fingerprint) IN (SELECT made.function, made.fingerprint FROM made) AS finished
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
JOIN pg_namespace f ON f.oid = p.pronamespace
CROSS JOIN LATERAL (SELECT left(encode(t.tgargs, 'escape'), 16) AS fingerprint) argument
WHERE f.nspname = 'dbsync' AND NOT t.tgisinternal

-- name: registered
SELECT n.nspname::text, c.relname::text, r.mode
FROM dbsync.relation r
CROSS JOIN pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid AND r.relation = n.nspname || '.' || c.relname

-- name: strangers
-- Triggers that are called as dbsync's are and run something else.
SELECT n.nspname, c.relname
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgname = ANY (%(names)s::text[]) AND NOT t.tgisinternal AND p.pronamespace <> 'dbsync'::regnamespace
ORDER BY n.nspname, c.relname

-- name: partitions
-- A statement on a partition fires the partition's own triggers only, so each has them.
SELECT n.nspname, c.relname
FROM pg_partition_tree({table}::regclass) t
JOIN pg_class c ON c.oid = t.relid
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY t.level, c.relname

-- name: run_by
-- The tables that have a trigger which runs one of some functions: a partition runs those of the whole.
SELECT DISTINCT n.nspname, c.relname
FROM pg_trigger t
JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_proc p ON p.oid = t.tgfoid
WHERE p.pronamespace = 'dbsync'::regnamespace AND p.proname = ANY (%(functions)s::text[]) AND NOT t.tgisinternal

-- name: backfills_begun
-- Backfills that were begun and are not through.
SELECT b.relation FROM dbsync.backfill b WHERE b.finished_at IS NULL ORDER BY b.relation

-- name: backfill_progress
-- Locked, so that one who begins it anew waits for the chunk under way, and the next chunk sees that it was.
SELECT last_key, finished_at IS NOT NULL FROM dbsync.backfill WHERE relation = %(relation)s FOR UPDATE

-- name: backfill_begin
INSERT INTO dbsync.backfill (relation) VALUES (%(relation)s) ON CONFLICT (relation) DO NOTHING

-- name: backfill_restart
UPDATE dbsync.backfill SET last_key = NULL, rows = 0, started_at = now(), finished_at = NULL WHERE relation = %(relation)s

-- name: backfill_hold
-- Before the table is locked, in the order in which a chunk does it.
SELECT FROM dbsync.backfill b WHERE b.relation = {relation} FOR UPDATE

-- name: backfill_owed
-- Rows may be there that no trigger saw.
INSERT INTO dbsync.backfill (relation) SELECT {relation} WHERE {rows}
ON CONFLICT (relation) DO UPDATE SET last_key = NULL, rows = 0, started_at = now(), finished_at = NULL

-- name: blind
-- Of some tables those of which not every change is captured: a trigger is missing or disabled.
SELECT n.nspname, c.relname
FROM unnest(%(schemas)s::text[], %(names)s::text[]) member(schema, name)
JOIN pg_namespace n ON n.nspname = member.schema
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = member.name
WHERE (SELECT count(*)
       FROM pg_trigger t
       JOIN pg_proc p ON p.oid = t.tgfoid
       WHERE t.tgrelid = c.oid AND t.tgname = ANY (%(triggers)s::text[]) AND t.tgenabled IN ('O', 'A')
         AND p.pronamespace = 'dbsync'::regnamespace) < cardinality(%(triggers)s::text[])
ORDER BY n.nspname, c.relname

-- name: skipping
-- Where sessions begin with session_replication_role = replica, no trigger of ours fires: for whom, as what ends it. Nor does one
-- for what a subscription writes, not even ENABLE ALWAYS: it fires those of single rows only.
SELECT format('ALTER %s RESET session_replication_role;',
              CASE WHEN s.setrole = 0 THEN format('DATABASE %I', current_database())
                   WHEN s.setdatabase = 0 THEN format('ROLE %I', r.rolname)
                   ELSE format('ROLE %I IN DATABASE %I', r.rolname, current_database()) END) AS ended_by
FROM pg_db_role_setting s
LEFT JOIN pg_roles r ON r.oid = s.setrole
WHERE s.setdatabase IN (0, (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
  AND 'session_replication_role=replica' = ANY (s.setconfig)
UNION ALL
SELECT 'ALTER SYSTEM RESET session_replication_role; SELECT pg_reload_conf();'
FROM pg_settings WHERE name = 'session_replication_role' AND source = 'configuration file' AND reset_val = 'replica'
UNION ALL
SELECT format('ALTER SUBSCRIPTION %I DISABLE;', s.subname)
FROM pg_subscription s
WHERE s.subdbid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND s.subenabled
  AND EXISTS (SELECT FROM pg_subscription_rel r JOIN pg_trigger t ON t.tgrelid = r.srrelid JOIN pg_proc p ON p.oid = t.tgfoid
              WHERE r.srsubid = s.oid AND p.pronamespace = 'dbsync'::regnamespace AND NOT t.tgisinternal)
ORDER BY 1

-- name: backfill_advance
-- Once it is through the key is needed no more, and may be somebody's name.
UPDATE dbsync.backfill
SET last_key = CASE WHEN %(finished)s THEN NULL ELSE coalesce(%(last_key)s, last_key) END, rows = rows + %(rows)s,
    finished_at = CASE WHEN %(finished)s THEN now() END
WHERE relation = %(relation)s

-- name: backfill_chunk
-- What belongs to a chunk is told from a look that waits for nobody, in the order of the keys as they are in its snapshot. Then
-- those rows are locked: FOR SHARE, so that nobody changes them until they are logged, and an old image never comes after a newer
-- change. A row whose key was being changed meanwhile may be another one then: what moved out of the chunk is left out, and the
-- update that moved it is in the log. It says nothing of how far the backfill is, and keeps no other row from being logged.
-- The second LIMIT cuts nothing off; without it the planner, who does not know the bound, may sort the whole table.
WITH scanned AS MATERIALIZED (
    SELECT {scanned} FROM {table} t WHERE {behind} {order} LIMIT {limit}
),
bound AS MATERIALIZED (SELECT * FROM scanned n {order_desc} LIMIT 1),
chunk AS MATERIALIZED (
    SELECT t.* FROM {table} t WHERE {behind} AND {until} {order} LIMIT {limit} FOR SHARE
),
logged AS ({log} RETURNING 1)
SELECT (SELECT count(*) FROM scanned), (SELECT count(*) FROM logged), (SELECT {last} FROM bound n)
