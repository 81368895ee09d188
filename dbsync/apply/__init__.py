"""Batches to upstream: staged, planned, written set-based in one transaction that also records the receipt."""
