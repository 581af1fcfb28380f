"""Which models serve whom: production for all sessions, a canary for a share of them.

A flip is one assignment, and then aliases of the registry. What nobody can go back to any more is
freed once the last request on it has ended.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sidecar.config import GuardConfig
from sidecar.errors import ModelChangeError
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.assignment import Shares
from sidecar.pipeline.comparison.comparison import Comparison
from sidecar.pipeline.exchange.newcomers import AnyModel, is_bi_encoder
from sidecar.pipeline.exchange.open_bi_encoders import OpenBiEncoders
from sidecar.pipeline.exchange.recording import (
    record_canary,
    record_end_of_canary,
    record_promotion,
)
from sidecar.pipeline.feedback import Feedback
from sidecar.pipeline.serving import Lineup, Serving
from sidecar.pipeline.variant import CANARY, PRODUCTION, ModelSet, Origin
from sidecar.storage.registry import Registry

Record = Callable[[Registry, Origin], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Canary:
    """What serves a share of the sessions, and how it does."""

    role: str
    origin: Origin
    comparison: Comparison


class Flips:
    """One at a time, of models that are open, warm and, a bi-encoder, have their generation. For
    one event loop. Methods raise AliasError after a flip that could not be written down."""

    def __init__(
        self,
        workshop: Workshop,
        serving: Serving,
        bi_encoders: OpenBiEncoders,
        feedback: Feedback,
        guard: GuardConfig,
    ) -> None:
        self.canary: Canary | None = None
        self._workshop = workshop
        self._serving = serving
        self._bi_encoders = bi_encoders
        self._feedback = feedback
        self._guard = guard
        self._flipping = asyncio.Lock()
        self._recording = asyncio.Lock()  # whose turns are taken in the order of asking
        self._tidying: set[asyncio.Task[None]] = set()
        self._former: set[Origin] = set()  # bi-encoders whose generations are kept to go back to

    def production_of(self, role: str) -> AnyModel:
        """What serves all sessions in a role."""
        return self._serving.lineup.production.models.by_role()[role]

    async def promote(self, role: str, newcomer: AnyModel) -> None:
        """It serves all sessions from now on."""
        async with self._flipping:
            await self._make_production(role, newcomer)
            recorded = self._recorded(record_promotion, newcomer.origin)
        await recorded

    async def promote_canary(self, canary: Canary) -> None:
        """The same of the canary. Raises ModelChangeError if it is none any more."""
        async with self._flipping:
            if self.canary is not canary or self._serving.lineup.canary is None:
                raise ModelChangeError(f"{named(canary.origin)} was taken away meanwhile")
            models = self._serving.lineup.canary.models
            await self._make_production(canary.role, getattr(models, canary.role))
            recorded = self._recorded(record_promotion, canary.origin)
        await recorded

    async def begin_canary(self, role: str, newcomer: AnyModel, shares: Shares) -> None:
        """It serves a share of the sessions from now on."""
        async with self._flipping:
            production = self._serving.lineup.production
            comparison = Comparison(self._guard)
            models = _with(production.models, role, newcomer)
            variant = self._workshop.variant(CANARY, models)
            self._serving.flip(Lineup(production, variant, shares, comparison))
            self.canary = Canary(role, newcomer.origin, comparison)
            self._feedback.on_click = comparison.clicked
            recorded = self._recorded(record_canary, newcomer.origin)
        _log.info("%s is the canary: %s", named(newcomer.origin), shares)
        await recorded

    def change_shares(self, shares: Shares) -> None:
        """The same sessions stay on the canary, as far as the shares allow."""
        lineup = self._serving.lineup
        kept = dataclasses.replace(shares, salt=lineup.shares.salt)
        self._serving.flip(dataclasses.replace(lineup, shares=kept))

    async def end_canary(self, canary: Canary) -> None:
        """Production serves all sessions; of no effect if it is the canary no more."""
        async with self._flipping:
            if self.canary is not canary:
                return
            self._serving.flip(Lineup(self._serving.lineup.production))
            self._forget_canary()
            self.tidy()
            recorded = self._recorded(record_end_of_canary, canary.origin)
        _log.info("%s is no canary any more", named(canary.origin))
        await recorded

    def tidy(self) -> None:
        """Frees, once the last request on it has ended, what nobody can go back to."""
        task = asyncio.ensure_future(self._drop_unused())
        self._tidying.add(task)
        task.add_done_callback(self._tidied)

    async def wait_tidied(self) -> None:
        """Until all that a flip leaves behind is freed."""
        while self._tidying:
            await asyncio.wait(self._tidying)
        await self._serving.wait_retired()

    def _recorded(self, record: Record, origin: Origin) -> asyncio.Future[None]:
        """Of a flip that is being made: aliases are written down in the order of the flips, and no
        flip waits for a slow registry."""
        return asyncio.ensure_future(self._record(record, origin))

    async def _record(self, record: Record, origin: Origin) -> None:
        registry = self._workshop.registry
        assert registry is not None  # what is flipped has come from it
        async with self._recording:
            await asyncio.to_thread(record, registry, origin)

    async def _make_production(self, role: str, newcomer: AnyModel) -> None:
        before = self._serving.lineup.production.models
        if is_bi_encoder(newcomer):
            await self._bi_encoders.lead_with(newcomer)
            self._former = {self.production_of(role).origin}
        models = _with(before, role, newcomer)
        self._serving.flip(Lineup(self._workshop.variant(PRODUCTION, models)))
        self._forget_canary()
        _log.info("%s serves", named(newcomer.origin))
        self.tidy()

    def _forget_canary(self) -> None:
        self.canary = None
        self._feedback.on_click = None

    def _tidied(self, task: asyncio.Task[None]) -> None:
        self._tidying.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("what nobody uses could not be freed", exc_info=task.exception())

    async def _drop_unused(self) -> None:
        await self._serving.wait_retired()
        lineup = self._serving.lineup
        variants = (lineup.production, lineup.canary)
        models = [variant.models.bi_encoder for variant in variants if variant is not None]
        used = {model.origin for model in models if model is not None}
        await self._bi_encoders.drop_but(used | self._former)


def named(origin: Origin) -> str:
    """A version in words."""
    return f"version {origin.version} of {origin.registry_model}"


def _with(models: ModelSet, role: str, newcomer: AnyModel) -> ModelSet:
    changes: dict[str, Any] = {role: newcomer}
    return dataclasses.replace(models, **changes)
