"""What is changed without a request: a canary that does badly goes, the registry is followed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging

from sidecar.errors import ModelChangeError, ModelRefusedError, SidecarError
from sidecar.pipeline.exchange.flips import named
from sidecar.pipeline.exchange.model_changes import ModelChanges
from sidecar.pipeline.variant import PRODUCTION, Origin

GUARD_SECONDS = 1.0
_log = logging.getLogger(__name__)


class ModelWatch:
    """Runs beside the requests. `last_intervention` is what it did last, and why; or ""."""

    def __init__(self, changes: ModelChanges, follow_seconds: float) -> None:
        """`follow_seconds` 0: only the canary is watched."""
        self.last_intervention = ""
        self._changes = changes
        self._follow_seconds = follow_seconds
        self._refused: dict[str, str] = {}  # versions, by model

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._guard())
            if self._follow_seconds > 0:
                tasks.create_task(self._follow())

    async def look_at_canary(self) -> None:
        """Takes the canary away if it has to go."""
        canary = self._changes.canary
        verdict = canary.comparison.verdict() if canary is not None else ""
        if canary is None or not verdict:
            return
        try:
            await self._changes.stop_canary(canary.origin.registry_model)
        except ModelChangeError:  # somebody else was faster
            return
        except SidecarError as error:
            _log.error("%s", error.message)
        self._note(f"{named(canary.origin)}, the canary, was taken away: {verdict}")

    async def look_at_aliases(self) -> None:
        """Serves the versions that the production aliases point to."""
        models = self._changes.serving.lineup.production.models.by_role()
        for origin in [model.origin for model in models.values()]:
            if origin.registry_model and not (self._changes.canary or self._changes.change):
                await self._follow_model(origin)

    async def _guard(self) -> None:
        while True:
            await asyncio.sleep(GUARD_SECONDS)
            await self.look_at_canary()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._follow_seconds)
            await self.look_at_aliases()

    async def _follow_model(self, origin: Origin) -> None:
        model, wanted = origin.registry_model, ""
        try:
            resolve = self._changes.need_registry().resolve
            wanted = await asyncio.to_thread(resolve, model, PRODUCTION)
            if wanted in (origin.version, self._refused.get(model)):
                return
            async with contextlib.aclosing(self._changes.activate(model, wanted)) as steps:
                async for _ in steps:
                    pass
            self._note(f"{named(Origin(model, wanted))} serves: it is what production points to")
        except SidecarError as error:
            if isinstance(error, ModelRefusedError):
                self._refused[model] = wanted
            self._note(f"the alias production of {model} was not followed: {error.message}")

    def _note(self, what: str) -> None:
        _log.warning("%s", what)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        self.last_intervention = f"{now}: {what}"
