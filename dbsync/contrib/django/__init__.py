"""A Django app: ``manage.py dbsync``, a system check of the models, and a look at the triggers after ``migrate``."""
