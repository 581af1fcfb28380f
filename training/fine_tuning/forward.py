"""A batch through a model: pairs -> logits, texts -> vectors.

The model is a plain PreTrainedModel or peft's around one, and is called as it is: what is computed
of its output is here, so that checkpoints need no renaming. Callers enter autocast; what comes out
is float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from training.fine_tuning.reading import Batch
from training.models.spec import ModelSpec


def pair_scores(model: PreTrainedModel, batch: Batch) -> Tensor:
    """(pairs,) float32: logits of a model with one label, with no activation laid over them."""
    logits = model(**batch).logits  # (pairs, 1)
    if logits.ndim != 2 or logits.shape[1] != 1:
        raise ValueError(f"logits {tuple(logits.shape)}: a reranker gives one a pair")
    return logits[:, 0].float()


def vectors(model: PreTrainedModel, batch: Batch, spec: ModelSpec) -> Tensor:
    """(texts, dim) float32: the tokens' last states pooled, of length one if the spec says so."""
    states = model(**batch).last_hidden_state.float()  # (texts, tokens, dim)
    pooled = pool(states, batch["attention_mask"], spec.pooling)
    return torch.nn.functional.normalize(pooled, dim=1) if spec.normalize else pooled


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """(texts, tokens, dim), (texts, tokens) -> (texts, dim); padding follows a text's tokens."""
    if pooling == "cls":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(dim=1) - 1]
    if pooling == "max":
        return states.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(dim=1)
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
