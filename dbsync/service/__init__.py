"""The composition root: wires the stages, runs the loop, and answers for the state of a node."""
