"""What makes dbsync at home in other programs. dbsync itself imports nothing of it, and runs without any of them."""
