"""A model on its way onto a machine. Pure values."""

from __future__ import annotations

import msgspec


class PullProgress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a pull is. `status` is the server's own word: "pulling manifest", "pulling 4c27e0f5b5ad", "success".

    A model is made of several files: `digest` names the one that is on its way, `completed_bytes` and
    `total_bytes` are its own. They are None where the step moves no bytes or says no sizes.
    """

    model: str
    status: str
    digest: str | None = None
    completed_bytes: int | None = None
    total_bytes: int | None = None

    @property
    def fraction(self) -> float | None:
        """From 0 to 1, of the file on its way; None where it is not known."""
        if not self.total_bytes:
            return None
        return min((self.completed_bytes or 0) / self.total_bytes, 1.0)

    @property
    def is_done(self) -> bool:
        return self.status == "success"
