"""A clinic's Django project, written as people write them, knowing nothing of dbsync."""
