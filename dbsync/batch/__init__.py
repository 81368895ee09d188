"""A batch as bytes: the same for every transport, readable on its own for as long as anybody keeps it. No I/O."""
