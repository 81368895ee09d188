"""The story of two laptops and a server, told on PostgreSQL clusters of its own."""
