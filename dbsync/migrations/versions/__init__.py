"""One module a revision, each running a file of sql/migrations."""
