"""A small Django app whose migrations go on: every kind of step that an application takes in a year."""
