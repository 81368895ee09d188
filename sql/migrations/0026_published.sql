-- Where all tables of a database are published (Debezium does so unless it is told otherwise, and so does a logical standby), PostgreSQL
-- lets no row be changed or deleted that it cannot name. It takes no time, and is asked for by nobody else.
ALTER TABLE dbsync.change REPLICA IDENTITY USING INDEX change_xid_seq;
ALTER TABLE dbsync.difference REPLICA IDENTITY FULL;
