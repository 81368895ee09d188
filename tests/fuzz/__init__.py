"""Schemas and statements that nobody thought of: made up at random, shipped, and compared by natural key."""
