"""Ties: candidates with equal scores are cut by doc_id, and not by where in an index they happen to
lie, so a search has to go deep enough to see them whole."""

from __future__ import annotations

from collections.abc import Callable

Found = list[tuple[int, float]]  # (ordinal, score), best first

# Candidates searched for beyond those needed, and at most.
TIE_MARGIN = 16
MAX_TIED = 20_000


def search_with_ties(needed: int, search: Callable[[int], Found | None]) -> Found | None:
    """The best candidates of a search (given how many it is asked for), the last one within
    `needed` with all its equals beside it. None if the search has no answer."""
    asked = needed + TIE_MARGIN
    while True:
        found = search(asked)
        if found is None or len(found) <= needed:
            return found
        least = found[needed - 1][1]
        if found[-1][1] < least or len(found) < asked or asked >= MAX_TIED:
            return [each for each in found if each[1] >= least]
        asked = min(4 * asked, MAX_TIED)
