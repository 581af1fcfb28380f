"""The generations of a collection that another server keeps: one, of the bi-encoder that it was
created with, or none."""

from __future__ import annotations

from sidecar.models.base import BiEncoder
from sidecar.storage.stored_generations import BiEncoderIdentity


class OneGeneration:
    """What the catalog asks of a collection in matters of generations (backends.py)."""

    def __init__(self, name: str, bi_encoder: BiEncoderIdentity | None) -> None:
        self._of = name
        self._only = bi_encoder

    def generation_refusal(self, identity: BiEncoderIdentity) -> str:
        """Why it cannot have vectors of a bi-encoder; empty if it can, or needs none."""
        if self._only in (None, identity):
            return ""
        return (
            f"collection {self._of!r} is kept by another server and has vectors of {self._only} "
            f"only: create another one with {identity} and write the documents there"
        )

    def add_generation(self, bi_encoder: BiEncoder) -> None:
        """It has it, or none."""

    def generations(self) -> list[BiEncoderIdentity]:
        """The one that it has."""
        return [self._only] if self._only else []

    def generation_progress(self, identity: BiEncoderIdentity) -> tuple[int, int]:
        """Nothing is made in the background."""
        return 0, 0

    def generation_failure(self, identity: BiEncoderIdentity) -> str:
        """Nor fails."""
        return ""

    def wait_generation(self, identity: BiEncoderIdentity, timeout_seconds: float | None) -> bool:
        """Whether it can be searched by a bi-encoder, or by none; known at once."""
        return self._only in (None, identity)

    def wait_up_to_date(self, identity: BiEncoderIdentity, timeout_seconds: float) -> bool:
        """Likewise."""
        return self._only in (None, identity)

    def lead_with(self, identity: BiEncoderIdentity) -> None:
        """It does, or has none."""

    def drop_generation(self, identity: BiEncoderIdentity) -> None:
        """The one that it has goes with it only."""

    def leads_with(self, identity: BiEncoderIdentity) -> bool:
        """Whether it has that one."""
        return self._only == identity
