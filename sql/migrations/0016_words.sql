-- What everything in this schema means, for whoever looks at it with psql (\d+ dbsync.change) or reads
-- docs/reference/schema.md, which is made from these words. Whatever a later migration makes, it says what it means.

COMMENT ON TABLE dbsync.alembic_version IS 'Which revision of this schema is installed: the number of the last file in sql/migrations.';
COMMENT ON COLUMN dbsync.alembic_version.version_num IS 'The revision.';

COMMENT ON TABLE dbsync.nonce IS 'Requests that were answered, for as long as they would be accepted again: so none is answered twice.';
COMMENT ON COLUMN dbsync.nonce.key_id IS 'The key that signed the request.';
COMMENT ON COLUMN dbsync.nonce.nonce IS 'The request''s own random text.';
COMMENT ON COLUMN dbsync.nonce.at IS 'When it was answered.';

COMMENT ON TABLE dbsync.upload IS 'Batches and bundles that come in parts, until their last part is here.';
COMMENT ON COLUMN dbsync.upload.peer IS 'Who brings it.';
COMMENT ON COLUMN dbsync.upload.id IS 'What it is called: the hash of a batch''s lead, or a bundle''s file name.';
COMMENT ON COLUMN dbsync.upload.bytes IS 'How many bytes of it are here.';
COMMENT ON COLUMN dbsync.upload.begun_at IS 'When its first part came.';
COMMENT ON COLUMN dbsync.upload.grown_at IS 'When its last part came; after a day without one it is forgotten.';

COMMENT ON TABLE dbsync.upload_part IS 'The parts.';
COMMENT ON COLUMN dbsync.upload_part.peer IS 'Who brings it.';
COMMENT ON COLUMN dbsync.upload_part.id IS 'Of which upload it is a part.';
COMMENT ON COLUMN dbsync.upload_part.data IS 'The bytes, compressed or sealed as they came.';

COMMENT ON VIEW dbsync.batch IS 'Batches that left this node, newest receipts included; those that retention has forgotten are not here.';
COMMENT ON COLUMN dbsync.batch.link IS 'The upstream it went to.';
COMMENT ON COLUMN dbsync.batch.number IS 'Its number, counted by link and incarnation.';
COMMENT ON COLUMN dbsync.batch.changes IS 'How many changes it holds.';
COMMENT ON COLUMN dbsync.batch.transactions IS 'How many of the source''s transactions.';
COMMENT ON COLUMN dbsync.batch.sent_at IS 'When it was cut.';
COMMENT ON COLUMN dbsync.batch.acknowledged_at IS 'When its receipt came; null while there is none.';
COMMENT ON COLUMN dbsync.batch.hash IS 'Its SHA-256, in hexadecimal digits, as its receipt has it.';
COMMENT ON COLUMN dbsync.batch.incarnation IS 'The life of the source in which it was cut.';

COMMENT ON VIEW dbsync.status IS 'One row a link: how it is, as the service left it.';
COMMENT ON COLUMN dbsync.status.link IS 'The upstream.';
COMMENT ON COLUMN dbsync.status.state IS 'new, streaming, unreachable, halted, paused, stopped, or one of the states of a stick.';
COMMENT ON COLUMN dbsync.status.state_since IS 'Since when.';
COMMENT ON COLUMN dbsync.status.reason IS 'What is in the way, in words; null where nothing is.';
COMMENT ON COLUMN dbsync.status.last_batch IS 'The number of the newest batch.';
COMMENT ON COLUMN dbsync.status.contact_at IS 'When the upstream last answered.';
COMMENT ON COLUMN dbsync.status.node IS 'This node''s name.';
COMMENT ON COLUMN dbsync.status.incarnation IS 'This life of the database.';
COMMENT ON COLUMN dbsync.status.capture_off_since IS 'Since when capture is switched off; null while it is on.';
COMMENT ON COLUMN dbsync.status.paused_since IS 'Since when shipping is paused; null while it is not.';

COMMENT ON COLUMN dbsync.alert.program IS 'The program that tells it: run, serve or relay run.';
COMMENT ON COLUMN dbsync.alert.alert IS 'What is the matter, in one word.';
COMMENT ON COLUMN dbsync.alert.subject IS 'With whom or what: a link, a table, a node; empty where there is only one.';
COMMENT ON COLUMN dbsync.alert.severity IS 'warning or critical.';
COMMENT ON COLUMN dbsync.alert.what IS 'What is the matter, in a sentence.';
COMMENT ON COLUMN dbsync.alert.hint IS 'What to type next.';
COMMENT ON COLUMN dbsync.alert.level IS 'How far it has gone, for those that are told again as they grow.';
COMMENT ON COLUMN dbsync.alert.since IS 'When it began.';
COMMENT ON COLUMN dbsync.alert.told_at IS 'When somebody heard of it; null while nobody did.';
COMMENT ON COLUMN dbsync.alert.trouble IS 'Why somebody did not hear of it.';

COMMENT ON COLUMN dbsync.audit.id IS 'Its number.';
COMMENT ON COLUMN dbsync.audit.at IS 'When it was begun.';
COMMENT ON COLUMN dbsync.audit.who IS 'The user who was logged in.';
COMMENT ON COLUMN dbsync.audit.address IS 'The address his browser had.';
COMMENT ON COLUMN dbsync.audit.what IS 'What he did, in one word.';
COMMENT ON COLUMN dbsync.audit.command IS 'What would have done the same on a terminal.';
COMMENT ON COLUMN dbsync.audit.result IS 'What came of it; null until it is done.';
COMMENT ON COLUMN dbsync.audit.ended_at IS 'When it was done.';

COMMENT ON COLUMN dbsync.backfill.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.backfill.last_key IS 'The primary key of the last row that was logged.';
COMMENT ON COLUMN dbsync.backfill.rows IS 'How many rows were logged.';
COMMENT ON COLUMN dbsync.backfill.started_at IS 'When it was begun.';
COMMENT ON COLUMN dbsync.backfill.finished_at IS 'When it was through; null while it is not.';

COMMENT ON COLUMN dbsync.change.seq IS 'The order of changes within a transaction, and of transactions by their last one.';
COMMENT ON COLUMN dbsync.change.xid IS 'The application''s transaction.';
COMMENT ON COLUMN dbsync.change.captured_at IS 'When the statement began.';
COMMENT ON COLUMN dbsync.change.layout IS 'What the elements of the images and references mean: dbsync.layout.';
COMMENT ON COLUMN dbsync.change.op IS 'I insert, U update, D delete, B backfill.';
COMMENT ON COLUMN dbsync.change.renames IS 'An update that changes the row''s natural key.';
COMMENT ON COLUMN dbsync.change.image IS 'The row''s values as text: of the new row, for a delete of the old one.';
COMMENT ON COLUMN dbsync.change.old_image IS 'For an update, the values before it.';
COMMENT ON COLUMN dbsync.change.refs IS 'The natural keys of the rows it refers to, one leaf after the other in the layout''s order.';
COMMENT ON COLUMN dbsync.change.old_refs IS 'For an update that changes a reference, the keys before it.';
COMMENT ON COLUMN dbsync.change.local_id IS 'The source''s own id of the row; it never leaves the node.';
COMMENT ON COLUMN dbsync.change.old_local_id IS 'The id before an update that changes it.';
COMMENT ON COLUMN dbsync.change.unresolved IS 'Ids of rows that were not there when it was captured; their keys are told when it is read.';
COMMENT ON COLUMN dbsync.change.origin IS 'The node that captured it first, where it came here by a batch.';

COMMENT ON COLUMN dbsync.comparison.link IS 'The upstream.';
COMMENT ON COLUMN dbsync.comparison.begun_at IS 'When somebody asked for it.';
COMMENT ON COLUMN dbsync.comparison.patterns IS 'Which tables it is about; all where there are none.';
COMMENT ON COLUMN dbsync.comparison.ignore_extra IS 'Rows that only the upstream has are no difference.';
COMMENT ON COLUMN dbsync.comparison.size IS 'Bytes of a question about all tables, about.';
COMMENT ON COLUMN dbsync.comparison.repair IS 'What differs is to be sent once more.';
COMMENT ON COLUMN dbsync.comparison.repaired IS 'How many rows were put into the change log for that; null while none were.';
COMMENT ON COLUMN dbsync.comparison.question IS 'The question that is under way; null where none is.';
COMMENT ON COLUMN dbsync.comparison.asked IS 'The tables it asks about.';
COMMENT ON COLUMN dbsync.comparison.asked_at IS 'At which moment the rows were looked at.';
COMMENT ON COLUMN dbsync.comparison.paper IS 'The question itself, until its answer is here.';
COMMENT ON COLUMN dbsync.comparison.signature IS 'This node''s signature of it.';
COMMENT ON COLUMN dbsync.comparison.answered_at IS 'When the last answer came.';
COMMENT ON COLUMN dbsync.comparison.settled_at IS 'When nothing was left to be asked.';
COMMENT ON COLUMN dbsync.comparison.told_at IS 'When somebody was shown the result.';
COMMENT ON COLUMN dbsync.comparison.named IS 'The columns that differ were asked for, or nobody needs them.';
COMMENT ON COLUMN dbsync.comparison.trouble IS 'What was in the way when the service wanted to ask.';

COMMENT ON COLUMN dbsync.compared.link IS 'The upstream.';
COMMENT ON COLUMN dbsync.compared.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.compared.ask IS 'What is still to be asked: the whole table, the rows that are listed, or nothing.';
COMMENT ON COLUMN dbsync.compared.source_rows IS 'Its rows here.';
COMMENT ON COLUMN dbsync.compared.upstream_rows IS 'Its rows upstream.';
COMMENT ON COLUMN dbsync.compared.extra IS 'Rows that only the upstream has.';
COMMENT ON COLUMN dbsync.compared.other_origin IS 'Of those, rows that another node brought.';
COMMENT ON COLUMN dbsync.compared.otherwise IS 'How often the upstream''s tables were not what they were taken for.';
COMMENT ON COLUMN dbsync.compared.missing_columns IS 'Columns that the upstream has not.';
COMMENT ON COLUMN dbsync.compared.notes IS 'What else is to be known, a sentence each.';
COMMENT ON COLUMN dbsync.compared.problem IS 'Why it could not be compared; empty where it was.';

COMMENT ON COLUMN dbsync.difference.link IS 'The upstream.';
COMMENT ON COLUMN dbsync.difference.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.difference.kind IS 'missing, different, or uncaptured: missing, and not in the change log either.';
COMMENT ON COLUMN dbsync.difference.digest IS 'A hash of the row''s contents.';
COMMENT ON COLUMN dbsync.difference.times IS 'How often it was said to differ just as it is.';
COMMENT ON COLUMN dbsync.difference.settled IS 'That is sure; else it is asked about once more.';
COMMENT ON COLUMN dbsync.difference.asked IS 'The question under way asks about it by itself.';
COMMENT ON COLUMN dbsync.difference.key IS 'The natural key of the row.';
COMMENT ON COLUMN dbsync.difference.local_id IS 'The row''s id here.';
COMMENT ON COLUMN dbsync.difference.columns IS 'The columns that differ; null while they were not asked for.';

COMMENT ON COLUMN dbsync.conflict.id IS 'Its number, as dbsync conflicts shows it.';
COMMENT ON COLUMN dbsync.conflict.found_at IS 'When it was found.';
COMMENT ON COLUMN dbsync.conflict.conflict IS 'What was found, by PostgreSQL 18''s names.';
COMMENT ON COLUMN dbsync.conflict.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.conflict.key IS 'The natural key of the row.';
COMMENT ON COLUMN dbsync.conflict.node IS 'The node that sent the change.';
COMMENT ON COLUMN dbsync.conflict.incarnation IS 'The life of that node.';
COMMENT ON COLUMN dbsync.conflict.number IS 'The batch that held the change.';
COMMENT ON COLUMN dbsync.conflict.tx IS 'The transaction at the source, by the number of its last change.';
COMMENT ON COLUMN dbsync.conflict.seq IS 'The change''s own number at the source.';
COMMENT ON COLUMN dbsync.conflict.captured_at IS 'When it was captured.';
COMMENT ON COLUMN dbsync.conflict.origin IS 'The node that captured it first, where another one passed it on.';
COMMENT ON COLUMN dbsync.conflict.rule IS 'What dbsync.toml said: source, upstream, newest or quarantine.';
COMMENT ON COLUMN dbsync.conflict.decision IS 'Who won: source, upstream, none, or quarantine while a person is to decide.';
COMMENT ON COLUMN dbsync.conflict.columns IS 'The columns in which both sides had changed the row.';
COMMENT ON COLUMN dbsync.conflict.row_id IS 'The primary key of the row here.';
COMMENT ON COLUMN dbsync.conflict.source_image IS 'What the source wanted, by column, as text; null where it had no row.';
COMMENT ON COLUMN dbsync.conflict.upstream_image IS 'What was here, by column, as text; null where there was no row.';
COMMENT ON COLUMN dbsync.conflict.undone_at IS 'When dbsync conflicts undo gave the loser what it wanted.';
COMMENT ON COLUMN dbsync.conflict.undone_by IS 'Who did.';

COMMENT ON COLUMN dbsync.custody.link IS 'The upstream the batch is for.';
COMMENT ON COLUMN dbsync.custody.incarnation IS 'The life in which it was cut.';
COMMENT ON COLUMN dbsync.custody.number IS 'Its number.';
COMMENT ON COLUMN dbsync.custody.relay IS 'Who has it.';
COMMENT ON COLUMN dbsync.custody.at IS 'When he took it, by his clock.';
COMMENT ON COLUMN dbsync.custody.note IS 'The note, in JSON, as he signed it.';
COMMENT ON COLUMN dbsync.custody.signature IS 'His signature.';

COMMENT ON COLUMN dbsync.event.id IS 'Its number.';
COMMENT ON COLUMN dbsync.event.at IS 'When it was noticed.';
COMMENT ON COLUMN dbsync.event.kind IS 'What happened, in one word.';
COMMENT ON COLUMN dbsync.event.link IS 'The upstream it concerns; null for this database itself.';
COMMENT ON COLUMN dbsync.event.what IS 'What happened, in a sentence.';
COMMENT ON COLUMN dbsync.event.hint IS 'What to do, if anything.';

COMMENT ON COLUMN dbsync.greeting.node IS 'The node.';
COMMENT ON COLUMN dbsync.greeting.at IS 'When it last told.';
COMMENT ON COLUMN dbsync.greeting.program IS 'The version of its dbsync.';
COMMENT ON COLUMN dbsync.greeting.schema IS 'The revision of its dbsync schema.';
COMMENT ON COLUMN dbsync.greeting.clock_off IS 'Seconds by which its clock was ahead of this one''s; null where that could not be told.';
COMMENT ON COLUMN dbsync.greeting.pending IS 'Its changes without a receipt.';
COMMENT ON COLUMN dbsync.greeting.exact IS 'They were counted; else estimated.';
COMMENT ON COLUMN dbsync.greeting.oldest IS 'When the oldest of them was captured; null where there is none.';
COMMENT ON COLUMN dbsync.greeting.carried IS 'How many of them were with which drivers, and since when.';

COMMENT ON COLUMN dbsync.layout.id IS 'A hash of the definition.';
COMMENT ON COLUMN dbsync.layout.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.layout.definition IS 'Its columns, references and key, as a batch''s header carries them.';

COMMENT ON COLUMN dbsync.link.name IS 'What dbsync.toml calls the upstream.';
COMMENT ON COLUMN dbsync.link.cursor IS 'Everything that this snapshot sees has its receipt.';
COMMENT ON COLUMN dbsync.link.window_end IS 'The end of the window that is being sent: up to here changes were read.';
COMMENT ON COLUMN dbsync.link.window_seq IS 'Of that window, transactions up to this number have their receipt.';
COMMENT ON COLUMN dbsync.link.last_number IS 'The number of the newest batch.';
COMMENT ON COLUMN dbsync.link.last_hash IS 'Its hash, which the next one names.';
COMMENT ON COLUMN dbsync.link.state IS 'As dbsync status shows it.';
COMMENT ON COLUMN dbsync.link.state_since IS 'Since when.';
COMMENT ON COLUMN dbsync.link.reason IS 'What is in the way, in words.';
COMMENT ON COLUMN dbsync.link.contact_at IS 'When the upstream last answered.';
COMMENT ON COLUMN dbsync.link.reached_seq IS 'The highest number of a change that has its receipt.';

COMMENT ON COLUMN dbsync.list.id IS 'Its number.';
COMMENT ON COLUMN dbsync.list.made_by IS 'The node or relay on which the box was checked.';
COMMENT ON COLUMN dbsync.list.made_at IS 'When it was checked.';
COMMENT ON COLUMN dbsync.list.paper IS 'The list in JSON, as it was signed: who checked what, and the identifiers.';
COMMENT ON COLUMN dbsync.list.signature IS 'The signature of who made it.';
COMMENT ON COLUMN dbsync.list.own IS 'It was checked here.';
COMMENT ON COLUMN dbsync.list.kept_at IS 'When it came here.';
COMMENT ON COLUMN dbsync.list.sent_at IS 'When the upstream had it; null while it waits.';

COMMENT ON COLUMN dbsync.node.singleton IS 'True: there is one row.';
COMMENT ON COLUMN dbsync.node.name IS 'The node''s name, as in dbsync.toml.';
COMMENT ON COLUMN dbsync.node.incarnation IS 'The random id of this life of the database.';
COMMENT ON COLUMN dbsync.node.system_identifier IS 'The PostgreSQL cluster in which it lives.';
COMMENT ON COLUMN dbsync.node.created_at IS 'When dbsync was installed.';
COMMENT ON COLUMN dbsync.node.capture_off_since IS 'Since when capture is switched off.';
COMMENT ON COLUMN dbsync.node.paused_since IS 'Since when shipping is paused.';
COMMENT ON COLUMN dbsync.node.lineage IS 'The incarnation with which it began; all lives of one database share it.';

COMMENT ON COLUMN dbsync.passed.node IS 'The node that passed them on.';
COMMENT ON COLUMN dbsync.passed.incarnation IS 'Its life.';
COMMENT ON COLUMN dbsync.passed.link IS 'The link by which its batch came.';
COMMENT ON COLUMN dbsync.passed.number IS 'The batch that held them.';
COMMENT ON COLUMN dbsync.passed.via IS 'The transaction at that node in which they were applied.';
COMMENT ON COLUMN dbsync.passed.lineage IS 'The database that captured them first.';
COMMENT ON COLUMN dbsync.passed.first_tx IS 'The lowest of the transactions.';
COMMENT ON COLUMN dbsync.passed.last_tx IS 'The highest.';
COMMENT ON COLUMN dbsync.passed.transactions IS 'The transactions, by the numbers of their last changes.';
COMMENT ON COLUMN dbsync.passed.moments IS 'For each, when its last change was captured.';

COMMENT ON COLUMN dbsync.peer.name IS 'Its name.';
COMMENT ON COLUMN dbsync.peer.role IS 'node, relay or upstream.';
COMMENT ON COLUMN dbsync.peer.invite_expires_at IS 'Until when the code is good.';
COMMENT ON COLUMN dbsync.peer.invited_at IS 'When it was invited.';
COMMENT ON COLUMN dbsync.peer.enrolled_at IS 'When it came with the code; null while it has not.';
COMMENT ON COLUMN dbsync.peer.revoked_at IS 'Since when it is refused.';
COMMENT ON COLUMN dbsync.peer.revoked_why IS 'Why.';
COMMENT ON COLUMN dbsync.peer.seen_at IS 'When it was last heard of.';

COMMENT ON COLUMN dbsync.peer_key.key_id IS 'The key''s name: 16 hexadecimal digits.';
COMMENT ON COLUMN dbsync.peer_key.peer IS 'Whose it is.';
COMMENT ON COLUMN dbsync.peer_key.signing IS 'The key that checks its signatures.';
COMMENT ON COLUMN dbsync.peer_key.sealing IS 'The key that seals for it.';
COMMENT ON COLUMN dbsync.peer_key.since IS 'Since when it holds.';
COMMENT ON COLUMN dbsync.peer_key.until IS 'Until when it held; null for the present one.';

COMMENT ON COLUMN dbsync.quarantine.id IS 'Its number, as dbsync quarantine shows it.';
COMMENT ON COLUMN dbsync.quarantine.state IS 'waiting, released (it went in) or skipped (somebody left it out).';
COMMENT ON COLUMN dbsync.quarantine.node IS 'The node that sent it.';
COMMENT ON COLUMN dbsync.quarantine.lineage IS 'The database that sent it.';
COMMENT ON COLUMN dbsync.quarantine.incarnation IS 'The life of that database.';
COMMENT ON COLUMN dbsync.quarantine.number IS 'The batch that held it.';
COMMENT ON COLUMN dbsync.quarantine.arrival IS 'The batch''s place among those that arrived here.';
COMMENT ON COLUMN dbsync.quarantine.tx IS 'The transaction at the source, by the number of its last change.';
COMMENT ON COLUMN dbsync.quarantine.seq IS 'The change''s own number at the source.';
COMMENT ON COLUMN dbsync.quarantine.captured_at IS 'When it was captured.';
COMMENT ON COLUMN dbsync.quarantine.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.quarantine.layout IS 'What the elements of images and references mean: dbsync.layout.';
COMMENT ON COLUMN dbsync.quarantine.op IS 'I insert, U update, D delete, B backfill.';
COMMENT ON COLUMN dbsync.quarantine.renames IS 'An update that changes the row''s natural key.';
COMMENT ON COLUMN dbsync.quarantine.image IS 'The row''s values as text; null once it went in.';
COMMENT ON COLUMN dbsync.quarantine.old_image IS 'For an update, the values before it.';
COMMENT ON COLUMN dbsync.quarantine.refs IS 'The natural keys of the rows it refers to.';
COMMENT ON COLUMN dbsync.quarantine.old_refs IS 'The keys before an update that changes a reference.';
COMMENT ON COLUMN dbsync.quarantine.lost IS 'Which references led to nothing at the source.';
COMMENT ON COLUMN dbsync.quarantine.origin IS 'The node that captured it first, where another one passed it on.';
COMMENT ON COLUMN dbsync.quarantine.key IS 'The natural key of the row.';
COMMENT ON COLUMN dbsync.quarantine.old_key IS 'The key before an update that changes it.';
COMMENT ON COLUMN dbsync.quarantine.refers IS 'The rows that its references run through, so that changes of those wait behind it.';
COMMENT ON COLUMN dbsync.quarantine.conflict IS 'Why it could not be applied, in one word.';
COMMENT ON COLUMN dbsync.quarantine.reason IS 'Why, in a sentence.';
COMMENT ON COLUMN dbsync.quarantine.behind IS 'The case that it waits behind; null for a case of its own.';
COMMENT ON COLUMN dbsync.quarantine.awaits IS 'The table whose row or column it waits for.';
COMMENT ON COLUMN dbsync.quarantine.awaits_key IS 'The natural key of the row it waits for.';
COMMENT ON COLUMN dbsync.quarantine.awaits_column IS 'The column it waits for.';
COMMENT ON COLUMN dbsync.quarantine.quarantined_at IS 'When it was put aside.';
COMMENT ON COLUMN dbsync.quarantine.attempts IS 'How often it was tried.';
COMMENT ON COLUMN dbsync.quarantine.tried_at IS 'When it was last tried.';
COMMENT ON COLUMN dbsync.quarantine.decided_at IS 'When it went in or was left out.';
COMMENT ON COLUMN dbsync.quarantine.decided_by IS 'Who decided.';
COMMENT ON COLUMN dbsync.quarantine.decision IS 'The reason that he gave.';

COMMENT ON COLUMN dbsync.receipt.node IS 'The node that sent the batch.';
COMMENT ON COLUMN dbsync.receipt.incarnation IS 'The life of that node.';
COMMENT ON COLUMN dbsync.receipt.number IS 'The batch''s number.';
COMMENT ON COLUMN dbsync.receipt.hash IS 'Its SHA-256.';
COMMENT ON COLUMN dbsync.receipt.changes IS 'How many changes it held.';
COMMENT ON COLUMN dbsync.receipt.first_captured IS 'When its oldest change was captured.';
COMMENT ON COLUMN dbsync.receipt.last_captured IS 'When its newest change was captured.';
COMMENT ON COLUMN dbsync.receipt.applied_at IS 'When it was committed here.';
COMMENT ON COLUMN dbsync.receipt.lineage IS 'The database that sent it; null for batches of the first schema.';
COMMENT ON COLUMN dbsync.receipt.link IS 'The link by which it came.';
COMMENT ON COLUMN dbsync.receipt.first_tx IS 'The lowest of its transactions.';
COMMENT ON COLUMN dbsync.receipt.last_tx IS 'The highest.';
COMMENT ON COLUMN dbsync.receipt.transactions IS 'Its transactions, by the numbers of their last changes.';
COMMENT ON COLUMN dbsync.receipt.moments IS 'For each, when its last change was captured.';
COMMENT ON COLUMN dbsync.receipt.moment IS 'When that transaction''s last change was captured here.';
COMMENT ON COLUMN dbsync.receipt.xid IS 'That transaction''s id here.';

COMMENT ON COLUMN dbsync.relation.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.relation.mode IS 'ship, or lookup.';
COMMENT ON COLUMN dbsync.relation.layout IS 'The layout its triggers were made for; null for a lookup.';
COMMENT ON COLUMN dbsync.relation.fingerprint IS 'What its triggers were made from, as a hash.';
COMMENT ON COLUMN dbsync.relation.bodies IS 'The MD5 of each function as it was installed.';
COMMENT ON COLUMN dbsync.relation.key_query IS 'How the natural key of a row is found by its id.';
COMMENT ON COLUMN dbsync.relation.installed_at IS 'When that was.';

COMMENT ON COLUMN dbsync.restamp.last_seq IS 'The number of its last change.';
COMMENT ON COLUMN dbsync.restamp.first_seq IS 'The number of its first.';
COMMENT ON COLUMN dbsync.restamp.xid IS 'The id it has still.';

COMMENT ON COLUMN dbsync.row_key.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.row_key.local_id IS 'The row''s id here.';
COMMENT ON COLUMN dbsync.row_key.row_key IS 'The UUID that stands for it everywhere.';

COMMENT ON COLUMN dbsync.sent.link IS 'The upstream it went to.';
COMMENT ON COLUMN dbsync.sent.number IS 'Its number, counted by link and incarnation.';
COMMENT ON COLUMN dbsync.sent.window_start IS 'The window it was cut from: what this snapshot sees came before.';
COMMENT ON COLUMN dbsync.sent.window_end IS 'What this snapshot sees is in the window.';
COMMENT ON COLUMN dbsync.sent.after_seq IS 'It begins behind the transaction with this number.';
COMMENT ON COLUMN dbsync.sent.last_seq IS 'It ends with the transaction with this number.';
COMMENT ON COLUMN dbsync.sent.transactions IS 'How many transactions it holds.';
COMMENT ON COLUMN dbsync.sent.changes IS 'How many changes.';
COMMENT ON COLUMN dbsync.sent.counts IS 'Changes by layout, operation and rename.';
COMMENT ON COLUMN dbsync.sent.hash IS 'Its SHA-256.';
COMMENT ON COLUMN dbsync.sent.sent_at IS 'When it was cut.';
COMMENT ON COLUMN dbsync.sent.first_captured IS 'When its oldest change was captured.';
COMMENT ON COLUMN dbsync.sent.last_captured IS 'When its newest change was captured.';
COMMENT ON COLUMN dbsync.sent.acknowledged_at IS 'When its receipt came.';
COMMENT ON COLUMN dbsync.sent.incarnation IS 'The life in which it was cut.';
COMMENT ON COLUMN dbsync.sent.joint IS 'Where the window was to end, for a batch that reaches over it.';
COMMENT ON COLUMN dbsync.sent.place IS 'Its place among all batches, of whatever life.';

COMMENT ON COLUMN dbsync.shipped.link IS 'The upstream.';
COMMENT ON COLUMN dbsync.shipped.day IS 'The day.';
COMMENT ON COLUMN dbsync.shipped.relation IS 'The table, as schema.table.';
COMMENT ON COLUMN dbsync.shipped.changes IS 'How many.';

COMMENT ON COLUMN dbsync.web_session.token IS 'SHA-256 of what the browser has.';
COMMENT ON COLUMN dbsync.web_session.who IS 'The user.';
COMMENT ON COLUMN dbsync.web_session.begun_at IS 'When he logged in.';
COMMENT ON COLUMN dbsync.web_session.used_at IS 'When the browser was last heard of.';

COMMENT ON COLUMN dbsync.web_user.name IS 'The name to log in with.';
COMMENT ON COLUMN dbsync.web_user.role IS 'viewer or operator.';
COMMENT ON COLUMN dbsync.web_user.sees_values IS 'He may be shown what rows hold.';
COMMENT ON COLUMN dbsync.web_user.password IS 'argon2id, with its salt and costs.';
COMMENT ON COLUMN dbsync.web_user.made_at IS 'When the user was made.';
COMMENT ON COLUMN dbsync.web_user.made_by IS 'The database role that made it.';
COMMENT ON COLUMN dbsync.web_user.changed_at IS 'When the password was last changed.';
COMMENT ON COLUMN dbsync.web_user.seen_at IS 'When the user last logged in.';
COMMENT ON COLUMN dbsync.web_user.failed_at IS 'When a password was last wrong.';

COMMENT ON FUNCTION dbsync.drifted(regclass, jsonb, text[], text) IS
    'Fills the columns of a table that was altered into a capture statement, and keeps its new layout.';
COMMENT ON FUNCTION dbsync.join_transactions(xid8[], xid8[]) IS
    'Compaction: lets changes that were not sent yet stand in another transaction of the log.';
COMMENT ON FUNCTION dbsync.key_of(text, text) IS 'Gives the natural key of a registered row by its id; null where there is none.';
COMMENT ON FUNCTION dbsync.living(text, integer) IS 'Estimates what the living changes take on disk, from a sample of pages.';
COMMENT ON FUNCTION dbsync.restamp_next(bigint) IS 'Gives one transaction of a reloaded log an id of this cluster.';
COMMENT ON FUNCTION dbsync.shape(regclass, regclass[], text[]) IS
    'Says everything a capture statement relies on, as a hash; the planner folds it into the cached plan.';
COMMENT ON FUNCTION dbsync.tell(xid8[], bigint[], xid8[], bigint[]) IS
    'Compaction: lets a change that was not sent yet tell what a later update of its row has logged.';
COMMENT ON FUNCTION dbsync.value_columns(regclass, text[]) IS 'Names the columns of a table that travel as values.';
