"""How old a signed request may be: of the messages, which say when they were signed, and of the registry, which keeps their nonces."""

from __future__ import annotations

from datetime import timedelta

LATE = timedelta(minutes=5)
"""How old, or how far ahead, a request may be by the upstream's clock. Nonces are kept that long."""
