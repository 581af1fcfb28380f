"""What a run has besides the model itself: the model as train left it, the stage before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sidecar.errors import ModelError
from training.config import TrainingConfig
from training.evaluation.lineup import production_models, sidecar_config
from training.exporting.dev_pairs import DevPairs, Floats, pair_values
from training.exporting.weight_choice import joined, recall_scores
from training.fine_tuning.adapters import is_prefix, load_adapter
from training.fine_tuning.base import Opened, open_base
from training.fine_tuning.bases import kind_of
from training.fine_tuning.job import ADAPTER, MODEL


def open_trained(folder: Path, model: str) -> Opened:
    """What the stage train wrote for one of config.MODELS; with its prefix, if it has one."""
    opened = open_base(str(folder / MODEL), kind_of(model))
    if not is_prefix(folder / ADAPTER):
        return opened
    return Opened(load_adapter(opened.model, folder / ADAPTER), opened.tokenizer, opened.spec)


def earlier_scores(
    config: TrainingConfig, role: str, dev: DevPairs, kept: Path, say: Callable[[str], None]
) -> Floats:
    """(pairs,): what a reranker's scores are joined with when it serves: recall's; before a
    second-stage reranker those of the first stage of production, joined with recall's."""
    recalled = recall_scores(dev)
    if role != "second_reranker":
        return recalled
    sidecar = sidecar_config(config)
    name = production_models(config, sidecar, kept).first_reranker
    if not name:
        return recalled
    try:
        first = open_base(name, "cross-encoder")
    except ModelError as error:
        say(f"the weight is chosen against recall alone: {error.message}")
        return recalled
    configured = sidecar.first_reranker.weight
    weight = configured if configured >= 0 else first.spec.weight
    return joined(dev, pair_values(first, dev.pairs), recalled, weight)
