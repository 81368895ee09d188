-- name: retained
-- The oldest batch of link ``l`` whose changes stay: one without a receipt, or whose receipt is younger than retention keeps
-- them, unless the log is over its size: then the oldest go, by whole windows.
SELECT s.place, s.window_start
FROM (
    SELECT CASE WHEN %(excess)s > 0 THEN coalesce((
        SELECT max(t.window_ends) FROM (
            SELECT sum(a.changes) OVER (ORDER BY a.place) - a.changes AS before,
                   max(a.place) OVER (PARTITION BY a.window_end::text) AS window_ends
            FROM dbsync.sent a WHERE a.link = l.name AND a.acknowledged_at IS NOT NULL
        ) t WHERE t.before < %(excess)s), 0) ELSE 0 END AS place
    OFFSET 0
) over
JOIN dbsync.sent s ON s.link = l.name
WHERE s.acknowledged_at IS NULL OR (s.acknowledged_at > now() - make_interval(secs => %(keep)s) AND s.place > over.place)
ORDER BY s.place LIMIT 1

-- name: horizon
-- The snapshot in which everything may go: what every link's cursor sees, and every link's oldest batch that stays did not
-- bring. Null when some link has acknowledged nothing, or there is none. The cursors stand still until this transaction
-- has forgotten the batches: none of them is gone back to meanwhile.
WITH held AS MATERIALIZED (
    SELECT l.name, l.cursor FROM dbsync.link l ORDER BY l.name FOR SHARE
),
seen_by AS (
    SELECT l.cursor AS seen FROM held l
    UNION ALL
    SELECT kept.window_start
    FROM held l CROSS JOIN LATERAL ({retained}) kept
),
reach AS (
    SELECT min(pg_snapshot_xmax(b.seen)::text::bigint) AS xmax, bool_and(b.seen IS NOT NULL) AS known FROM seen_by b
)
SELECT CASE WHEN r.known THEN (
    SELECT coalesce(min(x.xid), r.xmax) || ':' || r.xmax || ':' || coalesce(string_agg(x.xid::text, ',' ORDER BY x.xid), '')
    FROM (SELECT DISTINCT running.xid::text::bigint AS xid
          FROM seen_by b CROSS JOIN LATERAL pg_snapshot_xip(b.seen) AS running(xid)) x
    WHERE x.xid < r.xmax
) END
FROM reach r

-- name: forget_batches
-- Before their changes go, so that no batch is on record that cannot be read again, though another link may hold on to some
-- of them. The newest alone stays in any case. What they had shipped today is counted on. How far that goes is asked once a
-- link, and not of every batch.
WITH until AS MATERIALIZED (
    SELECT l.name AS link, least(newest.place, kept.place) AS place
    FROM dbsync.link l
    CROSS JOIN LATERAL (
        SELECT a.place FROM dbsync.sent a WHERE a.link = l.name AND a.acknowledged_at IS NOT NULL
        ORDER BY a.place DESC LIMIT 1
    ) newest
    LEFT JOIN LATERAL ({retained}) kept ON true
),
gone AS (
    DELETE FROM dbsync.sent s USING until u
    WHERE s.link = u.link AND s.place < u.place AND s.acknowledged_at IS NOT NULL
    RETURNING s.link, s.counts, s.acknowledged_at
)
INSERT INTO dbsync.shipped AS n (link, day, relation, changes)
SELECT g.link, current_date, y.relation, sum((c.value ->> 2)::bigint)::bigint
FROM gone g
CROSS JOIN LATERAL jsonb_array_elements(g.counts) AS c(value)
JOIN LATERAL (SELECT relation FROM dbsync.layout WHERE id = (c.value ->> 0)::bigint LIMIT 1) y ON true
WHERE g.acknowledged_at >= current_date
GROUP BY g.link, y.relation
ON CONFLICT (link, day, relation) DO UPDATE SET changes = n.changes + excluded.changes

-- name: forget_days
DELETE FROM dbsync.shipped WHERE day < current_date

-- name: bite
-- In small bites, so that no transaction of ours is long. Each begins where the one before ended: what is deleted stays in
-- the index until a vacuum, and is not to be waded through again.
WITH old AS MATERIALIZED (
    SELECT d.xid, d.seq FROM dbsync.change d
    WHERE (d.xid, d.seq) > (%(xid)s::xid8, %(seq)s) AND d.xid < %(below)s::xid8
      AND pg_visible_in_snapshot(d.xid, %(horizon)s::pg_snapshot)
    ORDER BY d.xid, d.seq LIMIT %(bite)s
),
gone AS (
    DELETE FROM dbsync.change c USING old WHERE c.xid = old.xid AND c.seq = old.seq RETURNING 1
)
SELECT o.xid::text, o.seq, (SELECT count(*) FROM gone) FROM old o ORDER BY o.xid DESC, o.seq DESC LIMIT 1

-- name: vacuum
-- Autovacuum looks once a minute; at full rate that is much. Where another vacuum is at work this one steps back.
VACUUM (SKIP_LOCKED, PARALLEL 0) dbsync.change, dbsync.sent

-- name: vacuum_all
VACUUM (PARALLEL 0, ANALYZE) dbsync.change

-- name: size
SELECT pg_total_relation_size('dbsync.change')

-- name: live
SELECT changes, bytes, waiting_changes, waiting_bytes FROM dbsync.living(%(link)s, %(pages)s)

-- name: by_index
SELECT set_config('enable_seqscan', 'off', true)

-- name: pending
-- What no receipt covers yet, by table, everything for a link that never shipped. Not more than %(enough)s changes are looked at, from the
-- oldest on or from the newest: of a long window that is begun the oldest may all have a receipt. So it is told how many were looked at.
SELECT r.relation, sum(t.changes)::bigint, min(t.oldest), sum(t.looked_at)::bigint
FROM (
    SELECT c.layout, count(*) FILTER (WHERE c.waits) AS changes, min(c.captured_at) FILTER (WHERE c.waits) AS oldest, count(*) AS looked_at
    FROM (
        SELECT c.layout, c.captured_at,
               NOT coalesce(l.window_seq > 0 AND pg_visible_in_snapshot(c.xid, l.window_end) AND c.last_seq <= l.window_seq, false) AS waits
        FROM (
            SELECT behind.*, max(behind.seq) OVER (PARTITION BY behind.xid) AS last_seq
            FROM (
                SELECT c.xid, c.seq, c.layout, c.captured_at FROM dbsync.change c
                CROSS JOIN (SELECT (SELECT l.cursor FROM dbsync.link l WHERE l.name = %(link)s)) AS l(cursor)
                WHERE c.xid >= coalesce((SELECT pg_snapshot_xmin(l.cursor) FROM dbsync.link l WHERE l.name = %(link)s), '0'::xid8)
                  AND (l.cursor IS NULL OR NOT pg_visible_in_snapshot(c.xid, l.cursor))
                ORDER BY c.xid {direction}, c.seq {direction} LIMIT %(enough)s
            ) behind
        ) c
        LEFT JOIN dbsync.link l ON l.name = %(link)s
    ) c
    GROUP BY c.layout
) t
JOIN LATERAL (SELECT y.relation FROM dbsync.layout y WHERE y.id = t.layout LIMIT 1) r ON true
GROUP BY r.relation
ORDER BY r.relation

-- name: pending_about
-- Where more wait than are worth counting: from a sample of pages.
SELECT r.relation, sum(t.changes)::bigint, min(t.oldest)
FROM (
    SELECT c.layout, count(*) * s.scale AS changes, min(c.captured_at) AS oldest
    FROM (SELECT greatest(pg_relation_size('dbsync.change') / 8192.0 / %(pages)s, 1)) AS s(scale)
    CROSS JOIN LATERAL (SELECT d.xid, d.seq, d.layout, d.captured_at FROM dbsync.change d TABLESAMPLE SYSTEM (100 / s.scale)) c
    LEFT JOIN dbsync.link l ON l.name = %(link)s
    WHERE (l.cursor IS NULL OR NOT pg_visible_in_snapshot(c.xid, l.cursor))
      AND NOT coalesce(l.window_seq > 0 AND pg_visible_in_snapshot(c.xid, l.window_end) AND c.seq <= l.window_seq, false)
    GROUP BY c.layout, s.scale
) t
JOIN LATERAL (SELECT y.relation FROM dbsync.layout y WHERE y.id = t.layout LIMIT 1) r ON true
GROUP BY r.relation
ORDER BY r.relation

-- name: oldest
-- The change at the index's beginning; long transactions apart, none is older.
SELECT c.captured_at FROM dbsync.change c ORDER BY c.xid, c.seq LIMIT 1

-- name: kept
-- Acknowledged changes that are still here.
SELECT coalesce(sum(s.changes), 0)::bigint, min(s.acknowledged_at)
FROM dbsync.sent s WHERE s.link = %(link)s AND s.acknowledged_at IS NOT NULL

-- name: shipped_today
-- By table, since midnight of the server's own day.
SELECT shipped.relation, sum(shipped.changes)::bigint
FROM (
    SELECT y.relation, (c.value ->> 2)::bigint AS changes
    FROM dbsync.sent s
    CROSS JOIN LATERAL jsonb_array_elements(s.counts) AS c(value)
    JOIN LATERAL (SELECT relation FROM dbsync.layout WHERE id = (c.value ->> 0)::bigint LIMIT 1) y ON true
    WHERE s.link = %(link)s AND s.acknowledged_at >= current_date
    UNION ALL
    SELECT n.relation, n.changes FROM dbsync.shipped n WHERE n.link = %(link)s AND n.day = current_date
) shipped
GROUP BY shipped.relation

-- name: at_home
-- In a copy of the cluster, or after dump and reload, transaction ids mean something else: nothing is to be deleted by them.
SELECT n.system_identifier = c.system_identifier AND NOT EXISTS (SELECT FROM dbsync.restamp)
FROM dbsync.node n CROSS JOIN pg_control_system() c

-- name: links
SELECT name FROM dbsync.link ORDER BY name

-- name: last_seq
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('dbsync.change', 'seq')::regclass), 0)

-- name: writers
-- Who has written into the log and has not ended: a transaction keeps its lock on the log until then. A prepared one has
-- no process, and a name of its own.
SELECT DISTINCT l.virtualtransaction, l.pid
FROM pg_locks l
WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.pid IS DISTINCT FROM pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation = 'dbsync.change'::regclass

-- name: fill_backlog
-- Whole transactions up to a seq below which nothing is still to come, that no link has seen and that are in no batch on
-- record. A window that a link has begun is left alone to its end. And so is what left in a life that is over: a stick may bring
-- it yet, and only as it was is it known.
INSERT INTO pg_temp.dbsync_window (xid, last_seq, changes)
WITH floors AS MATERIALIZED (
    SELECT l.cursor AS seen FROM dbsync.link l WHERE l.cursor IS NOT NULL
    UNION ALL
    SELECT l.window_end FROM dbsync.link l WHERE l.window_end IS NOT NULL
    UNION ALL
    SELECT newest.window_end FROM dbsync.link l CROSS JOIN LATERAL (
        SELECT s.window_end FROM dbsync.sent s WHERE s.link = l.name ORDER BY s.place DESC LIMIT 1
    ) newest
)
SELECT c.xid, max(c.seq), count(*)
FROM dbsync.change c
WHERE c.xid >= coalesce((SELECT max(pg_snapshot_xmin(f.seen)::text::bigint)::text::xid8 FROM floors f), '0'::xid8)
  AND NOT EXISTS (SELECT FROM floors f WHERE pg_visible_in_snapshot(c.xid, f.seen))
GROUP BY c.xid
HAVING max(c.seq) <= %(last)s AND max(c.seq) > coalesce((SELECT max(e.reached) FROM dbsync.life e), 0)

-- name: backlog_layouts
SELECT DISTINCT ON (y.id) y.id, y.definition
FROM dbsync.layout y
WHERE y.id IN (SELECT c.layout FROM pg_temp.dbsync_window w JOIN dbsync.change c ON c.xid = w.xid)
ORDER BY y.id

-- name: all_layouts
SELECT DISTINCT y.definition FROM dbsync.layout y

-- name: bound_columns
-- Columns whose values hang together with other rows': those of unique indexes, their expressions and conditions, of
-- exclusion constraints, and both ends of foreign keys.
SELECT n.nspname::text, c.relname::text, array_agg(DISTINCT a.attname::text)
FROM (
    SELECT x.indrelid AS relid, k.attnum FROM pg_index x CROSS JOIN LATERAL unnest(x.indkey::int2[]) AS k(attnum)
    WHERE (x.indisunique OR x.indisexclusion)
    UNION ALL
    SELECT x.indrelid, d.refobjsubid FROM pg_index x
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = x.indexrelid AND d.refobjid = x.indrelid
    WHERE (x.indisunique OR x.indisexclusion)
    UNION ALL
    SELECT f.conrelid, k.attnum FROM pg_constraint f CROSS JOIN LATERAL unnest(f.conkey) AS k(attnum) WHERE f.contype = 'f'
    UNION ALL
    SELECT f.confrelid, k.attnum FROM pg_constraint f CROSS JOIN LATERAL unnest(f.confkey) AS k(attnum) WHERE f.contype = 'f'
) bound
JOIN pg_class c ON c.oid = bound.relid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = bound.relid AND a.attnum = bound.attnum AND a.attnum > 0
GROUP BY n.nspname, c.relname

-- name: pointed_to
SELECT DISTINCT n.nspname::text, c.relname::text
FROM pg_constraint f JOIN pg_class c ON c.oid = f.confrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE f.contype = 'f'

-- name: make_transactions
-- The backlog's transactions in their order. Those with a reference that could not be told are walls: what stands on either
-- side of one stays there, and it stays what it is.
CREATE TEMP TABLE dbsync_transaction ON COMMIT DROP AS
SELECT w.xid, row_number() OVER turn AS place,
       2 * count(*) FILTER (WHERE u.untold) OVER turn - u.untold::int AS wall
FROM pg_temp.dbsync_window w
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM dbsync.change c WHERE c.xid = w.xid AND c.unresolved IS NOT NULL) AS untold
) u
WINDOW turn AS (ORDER BY w.last_seq ROWS UNBOUNDED PRECEDING)

-- name: make_chains
-- Each row's changes, one after the other: a row is told by its local id. ``follows``: a plain update, of columns that no
-- other row hangs on, behind a change of the same layout and origin; it may be told by that change.
CREATE TEMP TABLE dbsync_chain ON COMMIT DROP AS
SELECT m.relation, m.local_id, m.wall, m.seq, m.xid, m.place, m.op, m.leaf, m.origin,
       lag(m.seq) OVER chain AS before,
       coalesce(m.plain AND lag(m.layout) OVER chain = m.layout AND lag(m.op) OVER chain <> 'D'
                AND lag(m.origin) OVER chain IS NOT DISTINCT FROM m.origin, false) AS follows
FROM (
    SELECT t.xid, t.place, t.wall, c.seq, c.layout, c.local_id, c.op, c.origin, y.relation, y.leaf,
           c.op = 'U' AND NOT c.renames AND c.old_refs IS NULL AND c.old_local_id IS NULL
           AND NOT EXISTS (SELECT FROM unnest(y.bound) AS b(place)
                           WHERE c.image[b.place] IS DISTINCT FROM c.old_image[b.place]) AS plain
    FROM pg_temp.dbsync_transaction t
    JOIN dbsync.change c ON c.xid = t.xid
    JOIN jsonb_to_recordset({layouts}) AS y(layout bigint, relation text, bound int[], leaf boolean) ON y.layout = c.layout
    WHERE c.local_id IS NOT NULL
) m
WINDOW chain AS (PARTITION BY m.relation, m.local_id, m.wall ORDER BY m.seq)

-- name: analyze_chains
ANALYZE pg_temp.dbsync_window, pg_temp.dbsync_transaction, pg_temp.dbsync_chain

-- name: leave_broken
-- Where a change does not begin with what the one before it left, the log's order is not what happened: the application's
-- own trigger updated the row in the statement that fired it (``reduced`` in apply.sql), or capture was off for a while.
-- Such a row is left as it is.
DELETE FROM pg_temp.dbsync_chain k
USING (
    SELECT DISTINCT m.relation, m.local_id, m.wall
    FROM pg_temp.dbsync_chain m
    JOIN dbsync.change c ON c.xid = m.xid AND c.seq = m.seq
    JOIN pg_temp.dbsync_chain b ON b.seq = m.before
    JOIN dbsync.change p ON p.xid = b.xid AND p.seq = b.seq
    WHERE (m.op = 'I') <> (p.op = 'D') OR (m.op = 'U' AND c.layout = p.layout AND c.old_image IS DISTINCT FROM p.image)
) broken
WHERE k.relation = broken.relation AND k.local_id = broken.local_id AND k.wall = broken.wall

-- name: make_folds
-- A head and the changes it tells. An insert whose row is deleted later, and that nothing can point to, goes with its
-- delete (``vanishes``).
CREATE TEMP TABLE dbsync_fold ON COMMIT DROP AS
WITH members AS (
    SELECT k.*, max(k.seq) FILTER (WHERE NOT k.follows) OVER (PARTITION BY k.relation, k.local_id, k.wall ORDER BY k.seq) AS head
    FROM pg_temp.dbsync_chain k
),
stages AS (
    SELECT m.relation, m.local_id, m.wall, m.head, max(m.seq) AS last, min(m.place) AS first_place, max(m.place) AS last_place,
           min(m.op::text) FILTER (WHERE m.seq = m.head) AS op, bool_and(m.leaf) AS leaf, min(m.origin) AS origin
    FROM members m
    GROUP BY m.relation, m.local_id, m.wall, m.head
),
ends AS (
    SELECT s.*, lead(s.op) OVER chain = 'D' AND s.op = 'I' AND s.leaf
                AND lead(s.origin) OVER chain IS NOT DISTINCT FROM s.origin AS vanishes,
           lead(s.head) OVER chain AS next_head, lead(s.last_place) OVER chain AS next_place
    FROM stages s
    WINDOW chain AS (PARTITION BY s.relation, s.local_id, s.wall ORDER BY s.head)
)
SELECT e.relation, e.local_id, e.wall, e.head, e.first_place, coalesce(e.vanishes, false) AS vanishes,
       CASE WHEN e.vanishes THEN e.next_head ELSE e.last END AS last,
       CASE WHEN e.vanishes THEN e.next_place ELSE e.last_place END AS last_place
FROM ends e
WHERE e.vanishes OR e.last > e.head

-- name: make_gone
-- The changes that others tell.
CREATE TEMP TABLE dbsync_gone ON COMMIT DROP AS
SELECT k.xid, k.seq, k.relation
FROM pg_temp.dbsync_fold f
JOIN pg_temp.dbsync_chain k ON k.relation = f.relation AND k.local_id = f.local_id AND k.wall = f.wall
     AND k.seq BETWEEN f.head AND f.last AND (f.vanishes OR k.seq <> f.head)

-- name: index_gone
CREATE INDEX ON pg_temp.dbsync_gone (xid)

-- name: make_islands
-- What a change tells of later transactions may not be upstream before the rest of them: all from the head's transaction to
-- the last told one become one, under the xid of the last that has a change left.
CREATE TEMP TABLE dbsync_island ON COMMIT DROP AS
WITH spans AS (
    SELECT DISTINCT f.first_place AS first, f.last_place AS last FROM pg_temp.dbsync_fold f WHERE f.last_place > f.first_place
),
islands AS (
    SELECT min(b.first) AS first, max(b.last) AS last
    FROM (
        SELECT a.first, a.last, count(*) FILTER (WHERE a.begins) OVER (ORDER BY a.first, a.last) AS island
        FROM (
            SELECT s.first, s.last, s.first > coalesce(max(s.last) OVER (
                       ORDER BY s.first, s.last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS begins
            FROM spans s
        ) a
    ) b
    GROUP BY b.island
)
SELECT m.xid, first_value(m.xid) OVER (PARTITION BY m.first ORDER BY m.place DESC) AS into_xid
FROM (
    SELECT i.first, t.place, t.xid
    FROM islands i
    JOIN pg_temp.dbsync_transaction t ON t.place BETWEEN i.first AND i.last
    JOIN pg_temp.dbsync_window w ON w.xid = t.xid
    WHERE w.changes > (SELECT count(*) FROM pg_temp.dbsync_gone g WHERE g.xid = t.xid)
) m

-- name: analyze_folds
ANALYZE pg_temp.dbsync_fold, pg_temp.dbsync_gone, pg_temp.dbsync_island

-- name: gone_by_table
SELECT g.relation, count(*) FROM pg_temp.dbsync_gone g GROUP BY g.relation ORDER BY g.relation

-- name: backlog_size
SELECT coalesce(sum(w.changes), 0)::bigint, count(*) FROM pg_temp.dbsync_window w

-- name: transactions_left
SELECT (SELECT count(*) FROM pg_temp.dbsync_window w
        WHERE w.changes > (SELECT count(*) FROM pg_temp.dbsync_gone g WHERE g.xid = w.xid))
       - (SELECT count(*) - count(DISTINCT i.into_xid) FROM pg_temp.dbsync_island i)

-- name: tell
-- The head tells the row's values as they were last; its references, its key and its place stay its own. A rename keeps
-- its moment, by which the upstream tells one statement's renames from the next.
SELECT dbsync.tell(array_agg(head.xid), array_agg(head.seq), array_agg(last.xid), array_agg(last.seq)), count(*)
FROM pg_temp.dbsync_fold f
JOIN pg_temp.dbsync_chain head ON head.seq = f.head
JOIN pg_temp.dbsync_chain last ON last.seq = f.last
WHERE NOT f.vanishes

-- name: drop_told
DELETE FROM dbsync.change c USING pg_temp.dbsync_gone g WHERE c.xid = g.xid AND c.seq = g.seq

-- name: join_transactions
SELECT dbsync.join_transactions(array_agg(i.xid), array_agg(i.into_xid)) FROM pg_temp.dbsync_island i
