"""How upkeep that may take long says how far it has come, and is told to end."""

from __future__ import annotations

from collections.abc import Callable

# Called from time to time with what is being done ("copies documents"), how much of it is, and how
# much there is (0: not known). What it raises ends the work, which leaves nothing behind.
Progress = Callable[[str, int, int], None]


def unheard(step: str, done: int, total: int) -> None:
    """For who does not want to know."""
