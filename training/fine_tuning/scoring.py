"""Scores and vectors of a model without gradients, in batches of like length.

Results come in the order of the inputs, as float arrays of this machine, whatever device the model
is on. Dropout is off meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.fine_tuning.forward import pair_scores, vectors
from training.fine_tuning.opening import Opened
from training.fine_tuning.reading import Batch, Encoded, PairReader, TextReader, pad

BATCH_TOKENS = 8192  # padding included
Compute = Callable[[Batch], Tensor]


def score_pairs(
    opened: Opened, pairs: Sequence[tuple[str, str]], batch_tokens: int = BATCH_TOKENS
) -> npt.NDArray[np.float64]:
    """(pairs,): the logits of (query, passage) pairs."""
    reader = PairReader(opened.tokenizer, opened.spec)
    encoded = _read_pairs(reader, pairs)
    made = _computed(opened, encoded, lambda batch: pair_scores(opened.model, batch), batch_tokens)
    return np.asarray(made, dtype=np.float64).reshape(len(pairs))


def encode_queries(
    opened: Opened, texts: Sequence[str], batch_tokens: int = BATCH_TOKENS
) -> npt.NDArray[np.float32]:
    """(texts, dim): vectors of queries."""
    encoded = TextReader(opened.tokenizer, opened.spec).queries(texts)
    return _encoded_texts(opened, encoded, batch_tokens)


def encode_passages(
    opened: Opened, texts: Sequence[str], batch_tokens: int = BATCH_TOKENS
) -> npt.NDArray[np.float32]:
    """(texts, dim): vectors of passages."""
    encoded = TextReader(opened.tokenizer, opened.spec).passages(texts)
    return _encoded_texts(opened, encoded, batch_tokens)


def batches_of(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Rows in batches, the longest first: rows x longest is at most `batch_tokens`, one may be
    over it."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _read_pairs(reader: PairReader, pairs: Sequence[tuple[str, str]]) -> list[Encoded]:
    """Neighbours with the same query are read together."""
    encoded: list[Encoded] = []
    start = 0
    while start < len(pairs):
        query = pairs[start][0]
        end = start
        while end < len(pairs) and pairs[end][0] == query:
            end += 1
        encoded += reader.read_all(query, [passage for _, passage in pairs[start:end]])
        start = end
    return encoded


def _encoded_texts(
    opened: Opened, encoded: Sequence[Encoded], batch_tokens: int
) -> npt.NDArray[np.float32]:
    def compute(batch: Batch) -> Tensor:
        return vectors(opened.model, batch, opened.spec)

    made = _computed(opened, encoded, compute, batch_tokens)
    dimensions = int(opened.model.config.hidden_size)
    return np.asarray(made, dtype=np.float32).reshape(len(encoded), dimensions)


@torch.no_grad()
def _computed(
    opened: Opened, encoded: Sequence[Encoded], compute: Compute, batch_tokens: int
) -> list[npt.NDArray[np.float32]]:
    """A row of the output for each input."""
    rows: list[npt.NDArray[np.float32]] = [np.zeros(0, np.float32)] * len(encoded)
    device = next(opened.model.parameters()).device
    with _evaluating(opened.model):
        for places in batches_of([len(each.ids) for each in encoded], batch_tokens):
            batch = pad([encoded[place] for place in places], opened.tokenizer)
            output = compute({name: array.to(device) for name, array in batch.items()})
            for place, row in zip(places, output.cpu().numpy(), strict=True):
                rows[place] = row
    return rows


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Dropout off; afterwards as before."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
