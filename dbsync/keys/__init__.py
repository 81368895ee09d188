"""Natural keys and references: chosen from configuration and catalog, and said in SQL."""
