"""How fast a model is, from its last batches: running quantiles, and what a text will cost."""

from __future__ import annotations

import bisect
import math
from collections import deque
from dataclasses import dataclass

WINDOW_BATCHES = 256
FEWEST_BATCHES = 16  # that stay in the window however old they are
WINDOW_SECONDS = 60.0
TYPICAL_QUANTILE = 0.5
FIRST_GUESS_SECONDS_PER_TOKEN = 5e-5
FIRST_GUESS_TOKENS_PER_CHARACTER = 0.25
FIRST_GUESS_PAIR_TOKENS = 100.0
SPECIAL_TOKENS = 3  # of a pair
_PASSAGES_REMEMBERED = 1000.0  # after so many, one weighs 1/e of what it did


@dataclass(frozen=True, slots=True)
class _Observed:
    at: float
    seconds_per_token: float
    tokens: int


class RunningQuantiles:
    """Quantiles of seconds a token over a window of batches, each weighing its tokens.

    So a few large batches tell more than many tiny ones, in which what a batch costs by itself
    prevails. Batches older than `WINDOW_SECONDS` leave it as long as `FEWEST_BATCHES` remain.
    """

    def __init__(self) -> None:
        self._window: deque[_Observed] = deque()
        self._sorted: list[tuple[float, int]] = []  # seconds a token, tokens
        self._tokens = 0
        self._known: dict[float, float] = {}

    def __len__(self) -> int:
        return len(self._window)

    def observe(self, at: float, seconds: float, tokens: int) -> None:
        """A batch that ended at `at` after so many seconds."""
        new = _Observed(at, seconds / tokens, tokens)
        self._window.append(new)
        bisect.insort(self._sorted, (new.seconds_per_token, tokens))
        self._tokens += tokens
        while len(self._window) > WINDOW_BATCHES or self._oldest_is_stale(at):
            self._drop_oldest()
        self._known.clear()

    def at(self, quantile: float) -> float | None:
        """The least pace that so large a share of the tokens did not exceed; None: none seen."""
        if not self._window:
            return None
        if quantile not in self._known:
            self._known[quantile] = self._find(quantile * self._tokens)
        return self._known[quantile]

    def _find(self, tokens: float) -> float:
        below = 0
        for pace, weight in self._sorted:
            below += weight
            if below >= tokens:
                return pace
        return self._sorted[-1][0]

    def _oldest_is_stale(self, now: float) -> bool:
        stale = self._window[0].at < now - WINDOW_SECONDS
        return stale and len(self._window) > FEWEST_BATCHES

    def _drop_oldest(self) -> None:
        old = self._window.popleft()
        index = bisect.bisect_left(self._sorted, (old.seconds_per_token, old.tokens))
        del self._sorted[index]
        self._tokens -= old.tokens


class Pace:
    """Seconds a token of one model, with and without padding."""

    def __init__(self, plan_quantile: float) -> None:
        self._plan_quantile = plan_quantile
        self._batches = RunningQuantiles()
        self._padded = 0.0
        self._real = 0.0

    def observe_batch(self, at: float, seconds: float, real: int, padded: int) -> None:
        """A batch that was scored whole: its tokens without and with padding."""
        self._batches.observe(at, seconds, padded)
        self._real = 0.95 * self._real + real
        self._padded = 0.95 * self._padded + padded

    def forget(self) -> None:
        """What was seen so far does not count."""
        self._batches = RunningQuantiles()
        self._padded = self._real = 0.0

    @property
    def seconds_per_padded_token(self) -> float:
        """Of a typical batch: for how long one will take."""
        return self._batches.at(TYPICAL_QUANTILE) or FIRST_GUESS_SECONDS_PER_TOKEN

    @property
    def seconds_per_token(self) -> float:
        """For plans, padding of the last batches included: at the configured quantile."""
        pace = self._batches.at(self._plan_quantile) or FIRST_GUESS_SECONDS_PER_TOKEN
        return pace * (self._padded / self._real if self._real else 1.0)


class TextRates:
    """What passages of late had in tokens: a guess at those that are not tokenized yet."""

    def __init__(self) -> None:
        # First guesses that weigh as much as one passage.
        self._words = _Mean(FIRST_GUESS_TOKENS_PER_CHARACTER, 400.0)
        self._pairs = _Mean(FIRST_GUESS_PAIR_TOKENS, 1.0)

    @property
    def pair_tokens(self) -> float:
        """Tokens that a model reads for a candidate, in the mean."""
        return self._pairs.value

    def observe_pairs(self, candidates: int, tokens: int) -> None:
        """Candidates, and the tokens that the model reads for them, cut to budget."""
        self._pairs.observe(tokens, candidates, candidates)

    def observe_texts(self, passages: int, characters: int, tokens: int) -> None:
        """Passages that were not cut, each with its query: their characters and tokens."""
        self._words.observe(tokens - SPECIAL_TOKENS * passages, characters, passages)

    @property
    def tokens_per_character(self) -> float:
        """Special tokens aside."""
        return self._words.value


class _Mean:
    """A sum over a sum, in which older passages weigh less and less."""

    def __init__(self, value: float, weight: float) -> None:
        self._sum = value * weight
        self._weight = weight
        self.value = value

    def observe(self, amount: float, weight: float, passages: int) -> None:
        kept = math.exp(-passages / _PASSAGES_REMEMBERED)
        self._sum = kept * self._sum + max(0.0, amount)
        self._weight = kept * self._weight + weight
        self.value = self._sum / self._weight
