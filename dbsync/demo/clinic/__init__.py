"""A clinic's Django project, as it might be found in the field: it knows nothing of dbsync."""
