"""Reading the change log: committed changes in commit-safe order, cut into batches that can be read again."""
