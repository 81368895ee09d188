"""Bundles: sealed, signed files of batches that a person carries. No database in here. See docs/reference/bundle.md."""
