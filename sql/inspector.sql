-- What is shown of the changes of a link that no receipt covers.

-- name: changes
-- Oldest first, a page of them; text is looked for in the values and in the keys that references stand for.
SELECT c.origin, y.definition, c.op::text, c.captured_at, c.image, c.old_image, c.refs, c.old_refs
FROM dbsync.change c
CROSS JOIN LATERAL (SELECT y.definition, y.relation FROM dbsync.layout y WHERE y.id = c.layout LIMIT 1) y
LEFT JOIN dbsync.link l ON l.name = %(link)s
WHERE c.xid >= coalesce((SELECT pg_snapshot_xmin(l.cursor) FROM dbsync.link l WHERE l.name = %(link)s), '0'::xid8)
  AND (l.cursor IS NULL OR NOT pg_visible_in_snapshot(c.xid, l.cursor))
  AND NOT coalesce(l.window_seq > 0 AND pg_visible_in_snapshot(c.xid, l.window_end)
                   AND (SELECT max(o.seq) FROM dbsync.change o WHERE o.xid = c.xid) <= l.window_seq, false)
  AND (%(relation)s = '' OR y.relation = %(relation)s)
  AND (%(node)s = '' OR coalesce(c.origin, %(own)s) = %(node)s)
  AND (%(since)s::timestamptz IS NULL OR c.captured_at >= %(since)s)
  AND (%(text)s = '' OR strpos(lower(concat(c.image, ' ', c.refs)), lower(%(text)s)) > 0)
ORDER BY c.seq
LIMIT %(most)s OFFSET %(skip)s
