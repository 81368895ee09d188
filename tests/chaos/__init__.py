"""A long run of everything that can go wrong, mixed from a seed: ``python -m tests.chaos --seed 7``."""
