"""Gradient caching: the gradients of a large batch in the memory of a small chunk.

A contrastive loss needs all vectors of a batch at once, a listwise loss all scores of a list; what
costs memory are not those but the activations behind them. So, in two passes,

    1. represent every chunk without activations; the loss of all representations gives the gradient
       of each representation, which is kept (cached);
    2. represent every chunk again, with activations, and go backward from the kept gradient.

Gao, Zhang, Han and Callan, "Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup", RepL4NLP 2021 (arXiv 2101.06983). The second pass begins each chunk with the random state
that the first one had, so both drop out the same units, and the gradients are those that the same
chunks would give with all activations kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

Chunk = TypeVar("Chunk")


@dataclass(frozen=True, slots=True)
class Side(Generic[Chunk]):
    """What one encoder reads in this step: queries, documents, or the pairs of a cross-encoder.

    `represent` gives a tensor whose first dimension counts the inputs of the chunk: vectors
    (inputs, dim) or scores (inputs,). It enters autocast itself, if at all, and must not remember
    anything between calls (no batch norm in training).
    """

    represent: Callable[[Chunk], Tensor]
    chunks: Sequence[Chunk]


Loss = Callable[..., Tensor]


def cached_backward(
    sides: Sequence[Side[Chunk]],
    loss: Loss,
    scale: float | Callable[[Tensor], Tensor] = 1.0,
    no_sync: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Tensor:
    """Adds to the parameters' gradients those of `scale * loss(*representations)`; the loss.

    `loss` gets one tensor a side, the chunks' representations in order, and gives a scalar.
    `scale`: a factor (of gradient accumulation), or a function of the loss such as a GradScaler's
    `scale`. `no_sync`: entered for every backward pass but the last, so that a model that is
    distributed over processes sends its gradients once (DistributedDataParallel.no_sync).
    """
    representations, states = [], []
    for side in sides:
        made, begun = _represent(side)
        representations.append(made)
        states.append(begun)
    value = _loss_gradients(representations, loss, scale)
    passes = [
        (side.represent, chunk, state, gradient)
        for side, begun, made in zip(sides, states, representations, strict=True)
        for chunk, state, gradient in zip(
            side.chunks, begun, _gradients_by_chunk(made), strict=True
        )
    ]
    for number, (represent, chunk, state, gradient) in enumerate(passes, start=1):
        with no_sync() if number < len(passes) else nullcontext(), state.replayed():
            represent(chunk).backward(gradient)
    return value


@dataclass(slots=True)
class _Made:
    """Representations of a side as a leaf, and the number of inputs of each chunk."""

    whole: Tensor
    sizes: list[int]


@torch.no_grad()
def _represent(side: Side[Chunk]) -> tuple[_Made, list[_RandomState]]:
    parts, states = [], []
    for chunk in side.chunks:
        states.append(_RandomState())
        parts.append(side.represent(chunk))
    whole = torch.cat(parts).detach()
    return _Made(whole, [len(part) for part in parts]), states


def _loss_gradients(
    representations: Sequence[_Made], loss: Loss, scale: float | Callable[[Tensor], Tensor]
) -> Tensor:
    """The loss; leaves its gradient in `whole.grad` of each side."""
    for made in representations:
        made.whole.requires_grad_()
    with torch.enable_grad():
        value = loss(*(made.whole for made in representations))
        (scale(value) if callable(scale) else scale * value).backward()
    return value.detach()


def _gradients_by_chunk(made: _Made) -> Iterator[Tensor]:
    """A side that the loss does not depend on has gradients of 0."""
    whole = made.whole.grad
    yield from (torch.zeros_like(made.whole) if whole is None else whole).split(made.sizes)


class _RandomState:
    """The state of the generators of the CPU and of the current accelerator, when it was made."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._device = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Draws inside are those that followed; afterwards it is as if nothing had been drawn."""
        devices = [] if self._device is None else [torch.cuda.current_device()]
        with torch.random.fork_rng(devices):
            torch.set_rng_state(self._cpu)
            if self._device is not None:
                torch.cuda.set_rng_state(self._device)
            yield
