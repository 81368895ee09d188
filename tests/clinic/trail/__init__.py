"""A clinic that keeps trails of what was done, by applications that others made."""
