"""How a model is set up for training, and set back afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from training.config import FineTuneConfig

_DROPOUTS = ("dropout_prob", "attention_dropout")  # attributes that attention functions read


@contextmanager
def prepared(model: PreTrainedModel, config: FineTuneConfig) -> Iterator[None]:
    """Dropout, word embeddings and a CPU's attention as the configuration has them.

    On a CPU attention is computed plainly: torch's fused kernel there knows no dropout, and takes
    bfloat16 at less than the speed of plain products.
    """
    attention, words = model.config._attn_implementation, model.get_input_embeddings().weight
    dropouts = _dropouts(model) if config.dropout >= 0 else []
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        model.set_attn_implementation("eager")
    for module, name, _ in dropouts:
        setattr(module, name, config.dropout)
    if not config.train_embeddings:
        words.requires_grad_(False)
    try:
        yield
    finally:
        for module, name, before in dropouts:
            setattr(module, name, before)
        if not config.train_embeddings:
            words.requires_grad_(True)
        if on_cpu:
            model.set_attn_implementation(attention)


def _dropouts(model: nn.Module) -> list[tuple[nn.Module, str, float]]:
    """Modules with the attribute that holds a dropout's probability, and the probability."""
    found = []
    for module in model.modules():
        names = ("p",) if isinstance(module, nn.Dropout) else _DROPOUTS
        for name in names:
            if isinstance(getattr(module, name, None), float):
                found.append((module, name, getattr(module, name)))
    return found
