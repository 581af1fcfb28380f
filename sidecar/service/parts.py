"""What the services work with, which is there only once the models are loaded."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.errors import StartingError
from sidecar.pipeline.feedback import Feedback
from sidecar.pipeline.serving import Serving
from sidecar.recall.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Parts:
    """The stored collections, what answers over them, and the log of what was shown."""

    catalog: Catalog
    serving: Serving
    feedback: Feedback


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
