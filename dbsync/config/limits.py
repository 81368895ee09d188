"""``[check]``: from when on ``dbsync check`` finds something worth a warning."""

from __future__ import annotations

from dbsync.config.fields import Duration, Size, in_bytes, in_seconds
from dbsync.config.section import Section


class CheckConfig(Section):
    """``[check]``: what is normal here and what is not."""

    long_transaction: Duration = "1h"
    """How long others' transactions may stay open: vacuum and purge wait for them."""
    silent: Duration = "14d"
    """How long a link, or a node, may be without contact."""
    free_disk: Size = "1GB"
    """How much room a disk should have."""
    certificate: Duration = "30d"
    """How long before its end a certificate is told of."""

    @property
    def long_transaction_seconds(self) -> float:
        """Give ``long_transaction`` in seconds."""
        return in_seconds(self.long_transaction)

    @property
    def silent_seconds(self) -> float:
        """Give ``silent`` in seconds."""
        return in_seconds(self.silent)

    @property
    def free_bytes(self) -> int:
        """Give ``free_disk`` in bytes."""
        return in_bytes(self.free_disk)

    @property
    def certificate_seconds(self) -> float:
        """Give ``certificate`` in seconds."""
        return in_seconds(self.certificate)
