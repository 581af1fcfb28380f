"""The forward and backward passes of one step, within the memory that there is.

A step's texts are read in chunks of like length. Plain: every chunk forward with its activations,
the loss of all, one pass backward; a few lists after the other where the losses of lists add up.
Cached (gradient_cache.py): a chunk's activations at a time, for one more forward pass. "auto"
begins plainly; when memory fails, or a CPU's would (its system kills who takes too much), it goes
over to cached passes, then halves the chunks, and takes the same step again: the gradients are the
same but for rounding.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from sidecar.errors import ModelError
from training.config import FineTuneConfig
from training.fine_tuning.collator import ListBatch, Side
from training.fine_tuning.forward import pair_scores, vectors
from training.fine_tuning.gradient_cache import Side as CachedSide
from training.fine_tuning.gradient_cache import cached_backward
from training.fine_tuning.memory import (
    activation_bytes,
    available_bytes,
    is_memory_failure,
    release,
)
from training.fine_tuning.objectives import Objective
from training.fine_tuning.precision import autocast
from training.fine_tuning.reading import pad
from training.fine_tuning.scoring import batches_of
from training.models.spec import ModelSpec


class Represent:
    """Token ids -> scores (pairs,) of a cross-encoder, vectors (texts, dim) of a bi-encoder."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        spec: ModelSpec,
        precision: str,
        device: torch.device,
    ) -> None:
        self._tokenizer = tokenizer
        self._spec = spec
        self._precision = precision
        self.device = device

    def __call__(self, model: nn.Module, texts: Side) -> Tensor:
        """Float32."""
        padded = pad(texts, self._tokenizer)
        batch = {name: array.to(self.device) for name, array in padded.items()}
        with autocast(self._precision, self.device):
            if self._spec.kind == "cross-encoder":
                return pair_scores(model, batch).float()
            return vectors(model, batch, self._spec).float()


@dataclass(slots=True)
class Means:
    """How steps are computed at present; checkpoints keep it."""

    cached: bool
    chunk_tokens: int


@dataclass(frozen=True, slots=True)
class Sending:
    """What a distributed or scaled backward pass needs besides.

    `whole`: everything is one chunk, since a model whose weights are sharded counts its passes.
    `retries`: a step may be taken again, since no other process waits for it.
    """

    backward: Callable[[Tensor], None] = torch.Tensor.backward
    scale: Callable[[Tensor], Tensor] = lambda loss: loss
    no_sync: Callable[[], AbstractContextManager[object]] = nullcontext
    whole: bool = False
    several: bool = False  # processes
    retries: bool = True


CPU_CHUNK_TOKENS = 1024  # more than fits its caches is no faster, and padded more
MOST_OF_MEMORY = 0.7  # that is available
PLAIN_CHUNKS = 4  # whose activations are kept at once, where the loss allows for it
Report = Callable[[str], None]


class Passes:
    """Adds a step's gradients to the parameters'. `report` is told when the means change."""

    def __init__(
        self, represent: Represent, objective: Objective, config: FineTuneConfig, report: Report
    ) -> None:
        self.represent = represent
        self.objective = objective
        self._on_cpu = represent.device.type == "cpu"
        most = CPU_CHUNK_TOKENS if self._on_cpu else config.chunk_tokens
        self.means = Means(config.gradient_cache == "on", min(most, config.chunk_tokens))
        self._yields = config.gradient_cache != "off"
        self._proven_tokens = 0
        self._report = report

    def step(self, model: nn.Module, batch: ListBatch, factor: float, sending: Sending) -> Tensor:
        """The loss; adds the gradients of factor x loss. Raises ModelError: memory does not do, and
        nothing is to be changed, or it does not do for a single text."""
        if sending.retries and self._yields:
            self._look_ahead(model, batch)
        earlier = _set_aside(model) if sending.retries else []
        while True:
            try:
                loss = self._attempt(model, batch, factor, sending)
            except (RuntimeError, MemoryError) as error:
                if not is_memory_failure(error):
                    raise
                failure = str(error).partition("\n")[0]
                if not (sending.retries and self._yields):
                    raise ModelError(
                        f"{failure}: lower chunk_tokens, or set gradient_cache = auto (one process)"
                    ) from error
            else:
                _add_back(earlier)
                return loss
            # Not in the except clause: its traceback holds the activations.
            model.zero_grad(set_to_none=True)
            gc.collect()
            release()
            self._give_way(batch, failure)

    def _look_ahead(self, model: nn.Module, batch: ListBatch) -> None:
        """A system does not refuse memory, it kills: ask before more is taken than ever before."""
        tokens = sum(
            len(chunk) * len(side[chunk[0]].ids)
            for side in batch.sides
            for chunk in self.chunks(side)
        )
        if self.objective.adds:
            tokens = min(tokens, PLAIN_CHUNKS * self.means.chunk_tokens)
        if self.means.cached or tokens <= self._proven_tokens or not self._on_cpu:
            return
        self._proven_tokens = tokens
        needed, available = activation_bytes(model, tokens), available_bytes()
        if needed > MOST_OF_MEMORY * available:
            self._give_way(batch, f"{needed / 1e9:.1f} of {available / 1e9:.1f} GB would be needed")

    def chunks(self, side: Side, whole: bool = False) -> list[list[int]]:
        """Places of a side's texts, those of like length together."""
        if whole:
            return [list(range(len(side)))]
        return list(batches_of([len(text.ids) for text in side], self.means.chunk_tokens))

    def _attempt(
        self, model: nn.Module, batch: ListBatch, factor: float, sending: Sending
    ) -> Tensor:
        parts = self._parts(batch, sending)
        total = max(1, self.objective.terms(batch.targets)) if len(parts) > 1 else 1
        value = torch.zeros((), device=batch.targets.groups.device)
        for number, part in enumerate(parts, start=1):
            share = self.objective.terms(part.targets) / total if len(parts) > 1 else 1.0
            with nullcontext() if number == len(parts) else sending.no_sync():
                value = value + share * self._backward(model, part, share * factor, sending)
        return value

    def _parts(self, batch: ListBatch, sending: Sending) -> list[ListBatch]:
        """Lists whose activations are kept together. Where losses add up they need not be those of
        the whole step; cached passes keep few, anyway."""
        if self.means.cached or sending.whole or not self.objective.adds:
            return [batch]
        lengths = torch.tensor([len(text.ids) for text in batch.sides[0]])
        tokens = torch.zeros(len(batch.targets.query_ids), dtype=torch.long)
        tokens.index_add_(0, batch.targets.groups.cpu(), lengths)
        most, starts, held = PLAIN_CHUNKS * self.means.chunk_tokens, [0], 0
        for number, count in enumerate(tokens.tolist()):
            if held and held + count > most:
                starts.append(number)
                held = 0
            held += count
        if len(starts) == 1:
            return [batch]
        return [batch.lists(*ends) for ends in pairwise([*starts, len(tokens)])]

    def _backward(
        self, model: nn.Module, batch: ListBatch, factor: float, sending: Sending
    ) -> Tensor:
        sides = [self._cached_side(model, side, sending.whole) for side in batch.sides]
        orders = [_inverse(side.chunks, batch.targets.groups.device) for side in sides]

        def loss(*made: Tensor) -> Tensor:
            ordered = (rows[order] for rows, order in zip(made, orders, strict=True))
            return self.objective.loss(*ordered, batch.targets)

        # DistributedDataParallel wants a backward pass after every forward pass.
        parted = sending.several and sum(len(side.chunks) for side in sides) > 1
        if (self.means.cached or parted) and not sending.whole:
            return cached_backward(
                sides, loss, lambda value: sending.scale(value * factor), sending.no_sync
            )
        made = (torch.cat([side.represent(chunk) for chunk in side.chunks]) for side in sides)
        value = loss(*made)
        sending.backward(value * factor)
        return value.detach()

    def _cached_side(self, model: nn.Module, side: Side, whole: bool) -> CachedSide[list[int]]:
        def represent(places: list[int]) -> Tensor:
            return self.represent(model, [side[place] for place in places])

        return CachedSide(represent, self.chunks(side, whole))

    def _give_way(self, batch: ListBatch, failure: str) -> None:
        """Means that need less. Raises ModelError when there are none."""
        longest = max(len(text.ids) for side in batch.sides for text in side)
        if not self.means.cached:
            self.means.cached = True
        elif self.means.chunk_tokens // 2 >= longest:
            self.means.chunk_tokens //= 2
        elif self.means.chunk_tokens > longest:
            self.means.chunk_tokens = longest
        else:
            raise ModelError(
                f"memory does not do for one text of {longest} tokens ({failure}): set "
                "checkpointing = true, method lora, or lower query_tokens and passage_tokens"
            )
        self._report(f"{failure}: gradient cache, {self.means.chunk_tokens} tokens at once")


def _inverse(chunks: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """(texts,): where each text's row is once the chunks' rows stand one after another."""
    places = torch.tensor([place for chunk in chunks for place in chunk], device=device)
    return torch.empty_like(places).scatter(0, places, torch.arange(len(places), device=device))


def _set_aside(model: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
    """Takes the gradients of earlier steps away, so that a step that fails spoils none."""
    earlier = [(each, each.grad) for each in model.parameters() if each.grad is not None]
    for parameter, _ in earlier:
        parameter.grad = None
    return earlier


@torch.no_grad()
def _add_back(earlier: Sequence[tuple[nn.Parameter, Tensor]]) -> None:
    for parameter, gradient in earlier:
        parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
