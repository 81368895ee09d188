-- A change that waited behind another one which itself waited was left behind a case that is no more when that one went in: nothing
-- tried it again, nor was it listed. Each is a case of its own now, and is tried again with the others.
UPDATE dbsync.quarantine q SET behind = NULL
WHERE q.state = 'waiting' AND q.behind IS NOT NULL
  AND NOT EXISTS (SELECT FROM dbsync.quarantine head WHERE head.id = q.behind AND head.state = 'waiting' AND head.behind IS NULL);
