-- name: join_steps
-- What one statement did to a row in several steps becomes its last step, which then tells how the row was before the first.
WITH RECURSIVE renaming AS MATERIALIZED (
    SELECT DISTINCT s.tx, s.layout, s.captured_at FROM pg_temp.dbsync_stage s
    WHERE s.renames AND s.case_id IS NULL AND s.layout = ANY ({layouts}::bigint[])
),
change AS MATERIALIZED (
    SELECT s.* FROM renaming r JOIN pg_temp.dbsync_stage s ON s.tx = r.tx AND s.layout = r.layout AND s.captured_at = r.captured_at
    WHERE s.op = 'U' AND s.case_id IS NULL
),
step AS MATERIALIZED (
    SELECT c.tx, c.seq, max(p.seq) AS prior
    FROM change c
    JOIN change p ON p.tx = c.tx AND p.layout = c.layout AND p.captured_at = c.captured_at AND p.image = c.old_image
         AND p.refs IS NOT DISTINCT FROM coalesce(c.old_refs, c.refs) AND p.seq < c.seq
    GROUP BY c.tx, c.seq
),
chain AS (
    SELECT s.tx, s.seq, s.prior FROM step s WHERE NOT EXISTS (SELECT FROM step n WHERE n.tx = s.tx AND n.prior = s.seq)
    UNION ALL
    SELECT c.tx, c.seq, s.prior FROM chain c JOIN step s ON s.tx = c.tx AND s.seq = c.prior
),
joined AS (
    UPDATE pg_temp.dbsync_stage s
    SET old_image = f.old_image, old_refs = CASE WHEN whole.elsewhere THEN coalesce(f.old_refs, f.refs) END,
        renames = s.renames OR whole.renames
    FROM (
        SELECT c.tx, c.seq, min(c.prior) AS first, bool_or(p.renames) AS renames, bool_or(p.old_refs IS NOT NULL) AS elsewhere
        FROM chain c JOIN change p ON p.tx = c.tx AND p.seq IN (c.prior, c.seq)
        GROUP BY c.tx, c.seq
    ) whole
    JOIN change f ON f.tx = whole.tx AND f.seq = whole.first
    WHERE s.tx = whole.tx AND s.seq = whole.seq
)
DELETE FROM pg_temp.dbsync_stage s USING chain c WHERE s.tx = c.tx AND s.seq = c.prior
