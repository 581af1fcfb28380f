"""One list's scores as they come: a row for each passage."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from sidecar.models.base import TokenizedPassage
from sidecar.rerank.errand import PairScore
from sidecar.rerank.score_cache import CachedScore
from sidecar.types import UnscoredReason

_NEEDS_TEXT = PairScore(None, reason=UnscoredReason.NEEDS_TEXT)
_EMPTY_TEXT = PairScore(None, reason=UnscoredReason.EMPTY_TEXT)
_UNREADABLE = PairScore(None, reason=UnscoredReason.NOT_FINITE)

Probability = Callable[[float], float | None]


class ScoreSheet:
    """Rows without a text are settled from the start; None is a row that is not settled."""

    def __init__(self, passages: Sequence[str | None], probability: Probability) -> None:
        self.rows: list[PairScore | None] = [_without_text(passage) for passage in passages]
        self._probability = probability
        self._read: list[tuple[int, TokenizedPassage, int]] = []

    def open_rows(self) -> list[int]:
        """The rows that are not settled."""
        return [row for row, score in enumerate(self.rows) if score is None]

    def fill_cached(self, row: int, known: CachedScore) -> None:
        """A row that was scored before."""
        self.rows[row] = PairScore(
            known.logit,
            known.token_count,
            known.truncated,
            UnscoredReason.NONE,
            self._probability(known.logit),
            cached=True,
        )

    def fill_unreadable(self, row: int) -> None:
        """A row that could not be tokenized."""
        self.rows[row] = _UNREADABLE

    def expect(self, at: int, read: TokenizedPassage, first_slot: int) -> None:
        """The text at `at`, whose pairs are scored in slots from `first_slot` on."""
        self._read.append((at, read, first_slot))

    def fill_scored(
        self, rows: Sequence[int], slots: Sequence[float | None]
    ) -> list[tuple[int, CachedScore]]:
        """Settles the rows all of whose slots are; which texts got a score, and which.

        `rows` has the row of each text.
        """
        scored = []
        for at, read, first in self._read:
            scores = slots[first : first + len(read.pairs)]
            if None in scores:
                continue
            self.rows[rows[at]] = pair = self._to_pair_score(read, scores)
            if pair.score is not None:
                scored.append((at, CachedScore(pair.score, read.token_count, read.truncated)))
        return scored

    def prefix(self) -> tuple[PairScore, ...]:
        """The rows before the first that is not settled."""
        settled = itertools.takewhile(lambda score: score is not None, self.rows)
        return tuple(score for score in settled if score is not None)

    def _to_pair_score(self, read: TokenizedPassage, scores: Sequence[float | None]) -> PairScore:
        finite = [score for score in scores if score is not None and not math.isnan(score)]
        if not finite:
            reason = UnscoredReason.NOT_FINITE if read.pairs else UnscoredReason.TOO_LONG
            return PairScore(None, read.token_count, read.truncated, reason)
        best = max(finite)  # of a passage read in chunks, that of its best chunk
        return PairScore(
            best,
            read.token_count,
            read.truncated,
            UnscoredReason.NONE,
            self._probability(best),
        )


def _without_text(passage: str | None) -> PairScore | None:
    if passage is None:
        return _NEEDS_TEXT
    return None if passage.strip() else _EMPTY_TEXT
