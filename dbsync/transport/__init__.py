"""Transports: how a batch gets to the other side and its receipt back. They know no SQL of either end."""
