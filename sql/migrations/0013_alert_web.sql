-- The pages show what the reader sees.

GRANT SELECT ON dbsync.alert TO dbsync_web;
