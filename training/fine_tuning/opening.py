"""Opens what training begins with: a torch model, its tokenizer, and what it reads and gives."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from sidecar.errors import ModelError
from sidecar.models.contract import CONTRACT_FILE
from training.config import TrainingConfig
from training.fine_tuning.heads import open_bi_encoder, open_cross_encoder
from training.fine_tuning.specs import spec_of, within_budgets
from training.fine_tuning.tokenizer import open_tokenizer
from training.models.bases import Base, base_of, find_base, kind_of
from training.models.spec import KINDS, SPEC_FILE, ModelSpec


@dataclass(frozen=True, slots=True)
class Opened:
    """A model to train or to ask; in float32 on the CPU, in evaluation mode, when opened."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    spec: ModelSpec


def open_configured(config: TrainingConfig, model: str) -> Opened:
    """What the configuration has one of config.MODELS begin with; its spec names that as the base.

    Raises as `open_base`.
    """
    section, kind = config.fine_tune(model), kind_of(model)
    base = base_of(config, model)
    opened = _open(base, kind, section.query_tokens, section.passage_tokens, section.new_head)
    spec = dataclasses.replace(opened.spec, base=base.name, base_revision=base.revision)
    return dataclasses.replace(opened, spec=spec)


def open_base(
    name: str,
    kind: str,
    query_tokens: int = 0,
    passage_tokens: int = 0,
    registry: str = "",
    *,
    role: str = "",
    new_head: bool = False,
) -> Opened:
    """A model by its name (see bases.py), as one of model_spec.KINDS; budgets of 0 are its own.

    Raises ModelError: no such model, no weights, another kind, a head that is not there (unless a
    reranker's `new_head` is wanted) or has several labels, budgets that it has no room for.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: one of {KINDS}")
    base = find_base(name, kind, registry, role)
    return _open(base, kind, query_tokens, passage_tokens, new_head)


def _open(base: Base, kind: str, query_tokens: int, passage_tokens: int, new_head: bool) -> Opened:
    _check_kind(base, kind, new_head)
    if kind == "cross-encoder":
        model, head = open_cross_encoder(base, new_head)
    else:
        model, head = open_bi_encoder(base)
    types = int(getattr(model.config, "type_vocab_size", 0) or 0)
    tokenizer = open_tokenizer(base, has_types=types > 1)
    own = spec_of(base, kind, head, model)
    spec = within_budgets(own, tokenizer, model, query_tokens, passage_tokens)
    tokenizer.model_max_length = spec.max_tokens
    return Opened(model, tokenizer, spec)


def _check_kind(base: Base, kind: str, new_head: bool) -> None:
    told = base.read(CONTRACT_FILE).get("kind") or base.read(SPEC_FILE).get("kind") or kind
    if told == kind or (new_head and kind == "cross-encoder"):
        return
    hint = ": reranker.new_head = true trains a head on it" if kind == "cross-encoder" else ""
    raise ModelError(f"{base.name} is a {told}, a {kind} is wanted here{hint}")
