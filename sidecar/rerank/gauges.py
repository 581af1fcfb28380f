"""The metrics of one model's queue and batches."""

from __future__ import annotations

from sidecar import metrics
from sidecar.rerank.breaker import BreakerState
from sidecar.rerank.work import Batch
from sidecar.types import Stage


class ModelGauges:
    """`sidecar.metrics` with one model's labels. A probe counts as a batch, but has no pairs."""

    def __init__(self, stage: Stage, model: str) -> None:
        self._labels = (stage.name, model)
        self._queue_pairs = metrics.QUEUE_PAIRS.labels(*self._labels)
        self._queue_tokens = metrics.QUEUE_TOKENS.labels(*self._labels)
        self._queue_wait = metrics.QUEUE_WAIT.labels(*self._labels)
        self._batches = metrics.BATCHES.labels(*self._labels)
        self._seconds = metrics.BATCH_SECONDS.labels(*self._labels)
        self._fill = metrics.BATCH_FILL.labels(*self._labels)
        self._tokens = metrics.BATCH_TOKENS.labels(*self._labels)
        self._padded = metrics.PADDED_TOKENS.labels(*self._labels)
        self._scored = metrics.SCORED_PAIRS.labels(*self._labels)
        self._failed = metrics.FAILED_PAIRS.labels(*self._labels)
        self._cancelled = metrics.CANCELLED_PAIRS.labels(*self._labels)
        self._wasted = metrics.WASTED_PAIRS.labels(*self._labels)
        self._breaker = metrics.BREAKER_STATE.labels(*self._labels)

    def queue(self, pairs: int, tokens: int) -> None:
        """What waits now."""
        self._queue_pairs.set(pairs)
        self._queue_tokens.set(tokens)

    def waited(self, seconds: float) -> None:
        """A request, until the model began with it."""
        self._queue_wait.observe(seconds)

    def breaker(self, state: BreakerState) -> None:
        """The state of the breaker now."""
        self._breaker.set(state)

    def began(self, batch: Batch, batch_tokens: int) -> None:
        """A batch was given to the model."""
        self._batches.inc()
        self._fill.observe(batch.padded / batch_tokens)
        self._tokens.inc(batch.tokens)
        self._padded.inc(batch.padded)

    def scored(self, batch: Batch, seconds: float, pairs: int) -> None:
        """So many pairs of a batch got a score."""
        self._seconds.observe(seconds)
        if batch.is_probe:
            return
        self._scored.inc(pairs)
        self._failed.inc(len(batch.works) - pairs)
        if batch.live < len(batch.works):
            self._wasted.inc(len(batch.works) - batch.live)

    def failed(self, cause: str, culprits: int = 0) -> None:
        """A batch got no score, and will not be asked again for so many of its pairs."""
        metrics.FAILED_BATCHES.labels(*self._labels, cause).inc()
        self._failed.inc(culprits)

    def cancelled(self, batch: Batch, came_back: bool) -> None:
        """A batch for which nobody waited has ended; with scores all the same if it came back."""
        (self._wasted if came_back else self._cancelled).inc(len(batch.works))
