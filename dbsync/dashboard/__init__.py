"""Pages for people who log in: how everything is, what waits for somebody, and what may be done about it."""
