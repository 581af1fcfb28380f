"""The bi-encoders whose vectors the collections have: each stays open as long as its generation.

build (in the background, followed) -> lead_with -> ... -> drop_but (once nobody asks it any more)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection

from sidecar.errors import ModelRefusedError
from sidecar.models.base import BiEncoder
from sidecar.pipeline.variant import Origin, Shared
from sidecar.recall.catalog import Catalog
from sidecar.recall.encoding import identity_of
from sidecar.rerank.reranker import Reranker
from sidecar.storage.stored_generations import BiEncoderIdentity

PROGRESS_SECONDS = 0.5
MOST_FAILURES = 20  # looks in a row at which the documents could not be encoded


class OpenBiEncoders:
    """For one event loop. Close it after the catalog, which encodes until then."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._held: dict[BiEncoderIdentity, Shared[BiEncoder]] = {}

    def hold(self, bi_encoder: Shared[BiEncoder]) -> None:
        """The collections have, or are to have, a generation of it."""
        identity = identity_of(bi_encoder.model)
        if identity not in self._held:
            bi_encoder.take()
            self._held[identity] = bi_encoder

    def find(self, origin: Origin) -> Shared[BiEncoder] | None:
        """The bi-encoder of a version that is open still."""
        return next((each for each in self._held.values() if each.origin == origin), None)

    async def build(self, bi_encoder: Shared[BiEncoder]) -> AsyncGenerator[tuple[int, int]]:
        """Returns once every collection has a generation of it that can be searched; until then
        (documents that have a vector, all documents) from time to time.

        Raises StorageError, and ModelRefusedError if it fails on documents again and again.
        """
        self.hold(bi_encoder)
        identity, failures = identity_of(bi_encoder.model), 0
        await asyncio.to_thread(self._catalog.add_generation, bi_encoder.model)
        while True:
            yield await asyncio.to_thread(self._catalog.generation_progress, identity)
            if await asyncio.to_thread(self._catalog.wait_generation, identity, PROGRESS_SECONDS):
                return
            failure = self._catalog.generation_failure(identity)
            failures = failures + 1 if failure else 0
            if failures == MOST_FAILURES:
                raise ModelRefusedError(
                    f"{bi_encoder.model.contract.name} cannot encode the documents: {failure}"
                )

    async def lead_with(self, bi_encoder: Shared[BiEncoder]) -> None:
        """New documents get its vectors at once. Raises StorageError."""
        await asyncio.to_thread(self._catalog.lead_with, bi_encoder.model)

    async def drop_but(self, kept: Collection[Origin]) -> None:
        """Drops the generations of bi-encoders other than these, and closes them."""
        for identity, bi_encoder in list(self._held.items()):
            if bi_encoder.origin not in kept:
                await asyncio.to_thread(self._catalog.drop_generation, identity)
                del self._held[identity]
                await let_go(bi_encoder)

    def close(self) -> None:
        """Closes what no variant has. Blocks."""
        for bi_encoder in self._held.values():
            if bi_encoder.release():
                bi_encoder.close()
        self._held = {}


async def let_go(model: Shared[BiEncoder] | Shared[Reranker]) -> None:
    """One less has it; the last one closes it."""
    if model.release():
        await asyncio.to_thread(model.close)
