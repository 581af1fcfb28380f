"""Opens a version of the registry beside the models that serve, and holds it to its contract.

Nothing here may hold up a request: files are read and models compiled in threads that are nicer
than the event loop, no runtime is timed, and what is scored waits behind all that is asked.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TypeGuard

import numpy as np

from sidecar.errors import ModelError, ModelRefusedError
from sidecar.models.base import BiEncoder
from sidecar.models.contract import ModelContract
from sidecar.models.foreground import PATIENCE_SECONDS, foreground
from sidecar.models.workers import yield_to_others
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.variant import Origin, Shared
from sidecar.rerank.reranker import Reranker
from sidecar.storage.registry import FetchedVersion, Registry

AnyModel = Shared[BiEncoder] | Shared[Reranker]
WARM_UP_SECONDS = 60.0
_WARM_UP_WORDS = (1, 4, 8, 16, 32, 64)


class Newcomers:
    """One at a time. For one event loop; `close` when it is done."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._thread = ThreadPoolExecutor(1, "newcomer", initializer=yield_to_others)

    async def fetch(self, registry: Registry, origin: Origin) -> FetchedVersion:
        """The files of a version, their digests checked. Raises ModelNotFoundError,
        ModelRefusedError, StorageError."""
        loop = asyncio.get_running_loop()
        name, version = origin.registry_model, origin.version
        await foreground().quiet(PATIENCE_SECONDS)
        return await loop.run_in_executor(self._thread, registry.fetch, name, version)

    async def open(self, role: str, fetched: FetchedVersion, like: ModelContract) -> AnyModel:
        """The model in a role, its golden pairs checked; it is the caller's to release.

        Cancelled, it closes what it has opened. Raises ModelRefusedError.
        """
        opening = asyncio.ensure_future(self._open(role, fetched, like))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise
        except ModelError as error:
            raise _refused(Origin(fetched.model, fetched.version), error) from error

    async def warm_up(self, model: AnyModel) -> None:
        """Has it compute at every length. Raises ModelRefusedError, also where those that serve
        leave it no time."""
        try:
            async with asyncio.timeout(WARM_UP_SECONDS):
                if isinstance(model.model, Reranker):
                    await model.model.warm_up_behind()
                else:
                    loop = asyncio.get_running_loop()
                    await loop.run_in_executor(self._thread, _encode_some, model.model)
        except TimeoutError as error:
            slow = ModelError(f"it was not warm within {WARM_UP_SECONDS:g} s")
            raise _refused(model.origin, slow) from error
        except ModelError as error:
            raise _refused(model.origin, error) from error

    def close(self) -> None:
        """Waits for what is being opened."""
        self._thread.shutdown()

    async def _open(self, role: str, fetched: FetchedVersion, like: ModelContract) -> AnyModel:
        loop, folder = asyncio.get_running_loop(), str(fetched.folder)
        origin = Origin(fetched.model, fetched.version)
        await foreground().quiet(PATIENCE_SECONDS)  # reading a tokenizer holds the interpreter
        if role == "bi_encoder":
            bi_encoder = await loop.run_in_executor(
                self._thread, self._workshop.open_bi_encoder, folder, origin, like
            )
            assert bi_encoder is not None
            return bi_encoder
        encoder = await loop.run_in_executor(
            self._thread, self._workshop.open_cross_encoder, role, folder, like
        )
        assert encoder is not None
        return self._workshop.reranker_of(role, encoder, origin)


def is_bi_encoder(model: AnyModel) -> TypeGuard[Shared[BiEncoder]]:
    """Whether it is one, and no reranker."""
    return not isinstance(model.model, Reranker)


def _encode_some(bi_encoder: BiEncoder) -> None:
    """Texts of several lengths, as queries come. Raises ModelError."""
    for words in _WARM_UP_WORDS:
        foreground().wait_quiet(PATIENCE_SECONDS)
        vectors = bi_encoder.encode_queries([" ".join(["water"] * words)])
        if not np.isfinite(vectors).all():
            raise ModelError(f"{bi_encoder.contract.name} gives vectors that are no numbers")


def _close_unwanted(opening: asyncio.Future[AnyModel]) -> None:
    """Of a caller that has left meanwhile."""
    if opening.cancelled() or opening.exception() is not None:
        return
    model = opening.result()
    model.release()
    asyncio.get_running_loop().run_in_executor(None, model.close)


def _refused(origin: Origin, error: ModelError) -> ModelRefusedError:
    return ModelRefusedError(
        f"version {origin.version} of {origin.registry_model} is refused: {error.message}; what "
        "served goes on serving"
    )
