"""What databases say of their tables."""
