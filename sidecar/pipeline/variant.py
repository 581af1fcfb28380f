"""What answers a request: one set of models with its pipelines, and who still uses it.

A model that two variants have in common is one instance, `Shared` by them; it is closed when the
last variant that has it is retired, which waits for the requests that began on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sidecar.models.base import BiEncoder
from sidecar.models.foreground import PATIENCE_SECONDS, foreground
from sidecar.pipeline.rerank import RerankPipeline
from sidecar.pipeline.search import SearchPipeline
from sidecar.rerank.reranker import Reranker

PRODUCTION = "production"
CANARY = "canary"

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a model came from: its name in the registry and its version; empty if from none."""

    registry_model: str = ""
    version: str = ""


CONFIGURED = Origin()


def _nothing(_: object) -> None:
    pass


class Shared(Generic[T]):
    """A loaded model and how many have it. For one event loop once it serves.

    `detach` takes it out of what the loop runs, at once; `close` frees it, and may block.
    """

    def __init__(
        self,
        model: T,
        origin: Origin,
        close: Callable[[T], None],
        detach: Callable[[T], None] = _nothing,
    ) -> None:
        self.model = model
        self.origin = origin
        self._close = close
        self._detach = detach
        self._holders = 0

    def take(self) -> None:
        """One more has it."""
        self._holders += 1

    def release(self) -> bool:
        """One less. Whether it was the last one, who is then to `close` it."""
        self._holders -= 1
        if self._holders > 0:
            return False
        self._detach(self.model)
        return True

    def close(self) -> None:
        """Frees it, between requests: freeing a runtime holds the interpreter. Blocks."""
        foreground().wait_quiet(PATIENCE_SECONDS)
        self._close(self.model)


@dataclass(frozen=True, slots=True)
class ModelSet:
    """The models of a variant by role; None where the configuration names none."""

    bi_encoder: Shared[BiEncoder] | None = None
    first_reranker: Shared[Reranker] | None = None
    second_reranker: Shared[Reranker] | None = None

    def shared(self) -> list[Shared[BiEncoder] | Shared[Reranker]]:
        """Those that there are."""
        models = (self.bi_encoder, self.first_reranker, self.second_reranker)
        return [model for model in models if model is not None]

    def by_role(self) -> dict[str, Shared[BiEncoder] | Shared[Reranker]]:
        """Those that there are, by the name of their section in the configuration."""
        roles = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {role: model for role, model in roles.items() if model is not None}


class Variant:
    """One set of models and the pipelines over it. For one event loop."""

    def __init__(
        self, name: str, models: ModelSet, search: SearchPipeline, rerank: RerankPipeline
    ) -> None:
        self.name = name
        self.models = models
        self.search = search
        self.rerank = rerank
        self._under_way = 0
        self._left = asyncio.Event()
        for model in models.shared():
            model.take()

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """While a request is answered by it."""
        self._under_way += 1
        try:
            with foreground().answering():
                yield
        finally:
            self._under_way -= 1
            self._left.set()

    async def retire(self) -> None:
        """Waits for the requests that it answers, then closes what no other variant has."""
        while self._under_way:
            self._left.clear()
            await self._left.wait()
        released = [model for model in self.models.shared() if model.release()]
        await asyncio.to_thread(self._close, released)
        _log.info("%s of %s is closed", self.name, _names(self.models))

    def close(self) -> None:
        """Closes what no other variant has; nobody uses it any more. Blocks."""
        self._close([model for model in self.models.shared() if model.release()])

    def _close(self, released: Sequence[Shared[BiEncoder] | Shared[Reranker]]) -> None:
        self.search.close()
        for model in released:
            model.close()


def _names(models: ModelSet) -> str:
    contracts = [shared.model.contract for shared in models.shared()]
    return ", ".join(f"{contract.name} {contract.revision}" for contract in contracts)
