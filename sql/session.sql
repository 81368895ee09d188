-- name: promise
-- What a receipt stands on, whatever the defaults of this server, database or role: commits that survive a crash (what is
-- recorded as sent is durable, and so is every transaction before it), and a server that notices soon when this session's
-- machine is gone, for what it locked would stay locked. That statements see what was committed before them goes for all sessions.
SELECT set_config('synchronous_commit', 'on', {passing}) FROM pg_settings WHERE name = 'synchronous_commit' AND setting = 'off'
UNION ALL
SELECT set_config(s.name, s.value, {passing})
FROM (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_session_timeout', '0'),
             ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'),
             ('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3')) AS s(name, value)
WHERE EXISTS (SELECT FROM pg_settings known WHERE known.name = s.name)

-- name: notice
-- For the sessions of a service, which never are idle in a transaction for long: one that is has lost its service, though
-- something on the way keeps the connection alive. And where the machine is gone in the middle of a statement, or with an
-- answer on its way to it.
SELECT set_config(s.name, s.value, {passing})
FROM (VALUES ('idle_in_transaction_session_timeout', {silence}::text), ('tcp_user_timeout', '60000'),
             ('client_connection_check_interval', CASE WHEN version() ~* 'linux|darwin|bsd' THEN '30s' END)) AS s(name, value)
WHERE s.value IS NOT NULL AND EXISTS (SELECT FROM pg_settings known WHERE known.name = s.name)
