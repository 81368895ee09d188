"""What a layout is made of, for tests that make up any."""

from __future__ import annotations

from hypothesis import strategies as st

from dbsync.model.registration import KeyReference, KeyTree

names = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12)
"""Of tables, columns and types: whatever a database can hold."""


def references(targets: st.SearchStrategy[KeyTree]) -> st.SearchStrategy[KeyReference]:
    """Make references that are found by as many columns as they have."""
    pairs = st.lists(st.tuples(names, names), min_size=1, max_size=3)
    return st.builds(
        lambda pairs, target, soft: KeyReference(
            columns=tuple(one for one, _ in pairs),
            target_columns=tuple(other for _, other in pairs),
            target=target,
            soft=soft,
        ),
        pairs,
        targets,
        st.booleans(),
    )
