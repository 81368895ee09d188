"""Source to change log: the triggers, and the backfill of rows that were there before them."""
