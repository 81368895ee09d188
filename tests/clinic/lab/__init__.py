"""An app whose models know their natural keys, each in another of the ways that projects have."""
