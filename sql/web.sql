-- Who may log in to the pages, which browsers have, and what was done there.

-- name: users
SELECT u.name, u.role, u.sees_values, u.made_at, u.made_by, u.seen_at, u.failures,
       (SELECT count(*) FROM dbsync.web_session s WHERE s.who = u.name) AS browsers
FROM dbsync.web_user u
ORDER BY u.name

-- name: add_user
INSERT INTO dbsync.web_user (name, role, sees_values, password)
VALUES (%(name)s, %(role)s, %(sees_values)s, %(password)s)
ON CONFLICT (name) DO NOTHING

-- name: change_user
UPDATE dbsync.web_user u
SET role = coalesce(%(role)s, u.role), sees_values = coalesce(%(sees_values)s, u.sees_values), changed_at = clock_timestamp()
WHERE u.name = %(name)s

-- name: change_password
-- Whoever knows the old one may be in at this moment: every browser of his is out.
WITH ended AS (DELETE FROM dbsync.web_session s WHERE s.who = %(name)s)
UPDATE dbsync.web_user u SET password = %(password)s, changed_at = clock_timestamp(), failures = 0 WHERE u.name = %(name)s

-- name: remove_user
DELETE FROM dbsync.web_user u WHERE u.name = %(name)s

-- name: count_try
-- Counted before the password is looked at: however many try at once, each is one more. Nothing for whoever has to wait.
UPDATE dbsync.web_user u
SET failures = u.failures + 1, failed_at = clock_timestamp()
WHERE u.name = %(name)s
  AND (u.failures < %(free)s
       OR u.failed_at <= clock_timestamp() - make_interval(secs => least(2 ^ least(u.failures - %(free)s, 30), %(longest)s)))
RETURNING u.password

-- name: right_password
UPDATE dbsync.web_user u SET failures = 0, seen_at = clock_timestamp() WHERE u.name = %(name)s

-- name: begin_session
INSERT INTO dbsync.web_session (token, who) VALUES (%(token)s, %(name)s)

-- name: end_session
DELETE FROM dbsync.web_session s WHERE s.token = %(token)s RETURNING s.who

-- name: forget_sessions
DELETE FROM dbsync.web_session s
WHERE s.used_at < clock_timestamp() - make_interval(secs => %(idle)s)
   OR s.begun_at < clock_timestamp() - make_interval(secs => %(longest)s)

-- name: visitor
-- Who a browser is, as long as neither limit is reached; what he may is asked each time.
SELECT u.name, u.role, u.sees_values, s.used_at < clock_timestamp() - interval '20 seconds' AS stale
FROM dbsync.web_session s JOIN dbsync.web_user u ON u.name = s.who
WHERE s.token = %(token)s
  AND s.used_at >= clock_timestamp() - make_interval(secs => %(idle)s)
  AND s.begun_at >= clock_timestamp() - make_interval(secs => %(longest)s)

-- name: use_session
UPDATE dbsync.web_session s SET used_at = clock_timestamp() WHERE s.token = %(token)s

-- name: write_down
INSERT INTO dbsync.audit (who, address, what, command) VALUES (%(who)s, %(address)s, %(what)s, %(command)s) RETURNING id

-- name: write_result
UPDATE dbsync.audit a SET result = %(result)s, ended_at = clock_timestamp() WHERE a.id = %(id)s AND a.result IS NULL

-- name: deeds
SELECT a.id, a.at, a.who, a.address, a.what, a.command, a.result
FROM dbsync.audit a
WHERE %(before)s::bigint IS NULL OR a.id < %(before)s
ORDER BY a.id DESC
LIMIT %(limit)s

-- name: rights
-- What this login may do here.
SELECT current_user::text,
       coalesce(has_table_privilege(to_regclass('dbsync.web_session')::oid, 'INSERT'), false) AS serves,
       has_column_privilege('dbsync.quarantine', 'image', 'SELECT') AS reads_values,
       coalesce(pg_has_role(to_regrole('dbsync_replicator')::oid, 'USAGE'), false) AS acts
