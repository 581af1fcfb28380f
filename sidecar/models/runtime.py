"""What an encoder asks of a way of running a model: token arrays in, one float32 array out.

Adding one: a file beside this one, a line in `load.py`, a row of `runtime_choice.choices_for`, and
the name in config.py's `runtime.runtime`. A model served elsewhere, over HTTP say, is no runtime:
it is a CrossEncoder or BiEncoder of its own (base.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sidecar.errors import ModelError
from sidecar.models.base import Pair

Tokens = npt.NDArray[np.int64]  # (batch, tokens)
Output = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime, the precision it computes in, and what it is tuned for.

    `hint` is "latency" (one batch on all threads) or "throughput" (several batches side by side).
    """

    runtime: str  # "openvino" or "onnxruntime"
    precision: str  # "fp32", "bf16" or "int8"
    hint: str = "latency"

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision} {self.hint}"


# Products and softmax of whole blocks are cheaper than what is padded (4 to 7 % measured with bf16
# on AVX512), and a runtime plans anew for every length that it has not seen.
LENGTH_STEP = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokenized inputs padded to one length, each array int64 (batch, tokens)."""

    input_ids: Tokens
    attention_mask: Tokens
    token_type_ids: Tokens

    @classmethod
    def pad(cls, pairs: Sequence[Pair], pad_id: int, max_tokens: int = 0) -> Batch:
        """Pairs (or single texts) of any lengths as one batch; at least one.

        With `max_tokens`, the longest that the model takes, as many tokens as the longest pair has,
        rounded up to LENGTH_STEP where the model takes that many; without, exactly as many.
        """
        longest = max(pair.length for pair in pairs)
        length = max(longest, min(-(-longest // LENGTH_STEP) * LENGTH_STEP, max_tokens))
        shape = (len(pairs), length)
        input_ids = np.full(shape, pad_id, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        token_type_ids = np.zeros(shape, dtype=np.int64)
        for row, pair in enumerate(pairs):
            length = len(pair.input_ids)
            input_ids[row, :length] = pair.input_ids
            attention_mask[row, :length] = 1
            token_type_ids[row, :length] = pair.token_type_ids
        return cls(input_ids, attention_mask, token_type_ids)


class Cancellation:
    """Tells a batch that is being computed that nobody waits for it any more. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self.requested = False

    def request(self) -> None:
        """Stops the batch if it runs; one that has not begun does not begin."""
        with self._lock:
            self.requested = True
            if self._stop is not None:
                self._stop()

    def check(self) -> None:
        """Raises ModelError if the batch need not begin."""
        if self.requested:
            raise ModelError("the batch was cancelled before it began")

    def stops_by(self, stop: Callable[[], None]) -> None:
        """The batch has begun, and `stop` stops it: at once, if that was requested meanwhile."""
        with self._lock:
            self._stop = stop
            if self.requested:
                stop()

    def end(self) -> None:
        """The batch has ended: `stop` is not called any more."""
        with self._lock:
            self._stop = None


class Runtime(Protocol):
    """One compiled model. `run` is thread safe; rows of the output follow those of the batch."""

    @property
    def choice(self) -> Choice:
        """How it runs."""

    @property
    def concurrency(self) -> int:
        """Batches that it runs well side by side."""

    def run(self, batch: Batch, cancellation: Cancellation | None = None) -> Output:
        """The first output: (batch, labels), (batch, dimensions) or (batch, tokens, hidden).

        Raises ModelError; also when it was cancelled.
        """

    def close(self) -> None:
        """Frees the compiled model; `run` must not be called any more."""
