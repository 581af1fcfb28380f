"""What the services work with, which is there only once the models are loaded."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from sidecar.config import Config
from sidecar.errors import StartingError
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.exchange.model_changes import ModelChanges
from sidecar.pipeline.exchange.model_watch import ModelWatch
from sidecar.pipeline.feedback import Feedback
from sidecar.pipeline.paging import Pages
from sidecar.pipeline.serving import Serving
from sidecar.recall.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Parts:
    """The stored collections, what answers over them, the log of what was shown, what exchanges the
    models, and the rankings that are being paged through."""

    catalog: Catalog
    serving: Serving
    feedback: Feedback
    changes: ModelChanges
    watch: ModelWatch
    pages: Pages


def build_parts(
    workshop: Workshop,
    serving: Serving,
    catalog: Catalog,
    feedback: Feedback,
    config: Config,
    secret: bytes | None = None,
) -> Parts:
    """The parts of a server. `changes` have to be closed, after the catalog. `secret`: what cursors
    are signed with, None for one of this process alone."""
    changes = ModelChanges(workshop, serving, catalog, feedback, config)
    watch = ModelWatch(changes, config.registry.follow_seconds)
    pages = Pages(config.pages, secret)
    return Parts(catalog, serving, feedback, changes, watch, pages)


class PartsOnceLoaded:
    """Gives the parts; until they are loaded, a call gets StartingError."""

    def __init__(self, parts: Parts | None = None) -> None:
        self._parts = parts

    def set(self, parts: Parts) -> None:
        """Makes the parts known."""
        self._parts = parts

    def get(self) -> Parts:
        """The parts. Raises StartingError while there are none."""
        if self._parts is None:
            raise StartingError("the models are being loaded: send it again later", 1.0)
        return self._parts

    async def wait_tidied(self, seconds: float) -> None:
        """Returns once nothing that was exchanged is still being freed, or the time is over."""
        if self._parts is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._parts.changes.wait_tidied()
