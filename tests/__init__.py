"""The tests of dbsync, on real PostgreSQL servers of their own."""
