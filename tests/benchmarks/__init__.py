"""How fast dbsync is beside the alternatives, measured in one run on throwaway clusters; nothing here asserts a time.

``make bench``, or ``python -m tests.benchmarks --scale 0.1 --reps 1`` for a first look. A ratio counts only within the
run that gave it: its two sides take turns on the same machine, so that a slow minute hits both.
"""
