"""How the aliases of a model move when a version of it does."""

from __future__ import annotations

from collections.abc import Mapping

ALIASES = PRODUCTION, CANARY, PREVIOUS = ("production", "canary", "previous")
Moves = Mapping[str, str | None]  # alias -> version, None: it goes


def moves_of_promotion(aliases: Mapping[str, str], version: str) -> Moves:
    """When a version becomes production; none if it is that."""
    moves: dict[str, str | None] = {}
    if aliases.get(PRODUCTION) != version:
        moves = {PRODUCTION: version, PREVIOUS: aliases.get(PRODUCTION)}
    if aliases.get(CANARY) == version:
        moves[CANARY] = None
    return moves


def moves_of_canary(version: str) -> Moves:
    """When a version becomes the canary."""
    return {CANARY: version}


def moves_of_end_of_canary(aliases: Mapping[str, str], version: str) -> Moves:
    """When a version is the canary no more; none if it is not."""
    return {CANARY: None} if aliases.get(CANARY) == version else {}
