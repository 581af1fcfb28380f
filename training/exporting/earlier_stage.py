"""What a run has besides: the model as train left it, the stage before the one in question."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from sidecar.models.formats import read_folder
from sidecar.models.hub import find_folder
from training.config import TrainingConfig
from training.fine_tuning.adapters import is_prefix, load_adapter
from training.fine_tuning.job import ADAPTER, MODEL
from training.fine_tuning.opening import Opened, open_base
from training.models.bases import kind_of
from training.models.production import production_models, sidecar_config


@dataclass(frozen=True, slots=True)
class FirstStage:
    """A first-stage reranker: name or folder as the sidecar opens it, and the share of its score
    against recall's."""

    model: str
    weight: float


def open_trained(folder: Path, model: str) -> Opened:
    """What the stage train wrote for one of config.MODELS; with its prefix, if it has one."""
    opened = open_base(str(folder / MODEL), kind_of(model))
    if not is_prefix(folder / ADAPTER):
        return opened
    adapted = load_adapter(opened.model, folder / ADAPTER)
    return dataclasses.replace(opened, model=adapted)


def stage_before(config: TrainingConfig, role: str, kept: Path) -> FirstStage | None:
    """The first stage of production, where `role` is the second; None: recall comes before.

    Raises ModelError; files from a registry go to `kept`.
    """
    if role != "second_reranker":
        return None
    sidecar = sidecar_config(config)
    name = production_models(config, sidecar, kept).first_reranker
    if not name:
        return None
    weight = sidecar.first_reranker.weight
    if weight < 0:
        folder, revision = find_folder(name, sidecar.first_reranker.revision)
        weight = read_folder(folder, name, "cross-encoder", revision).contract.weight
    return FirstStage(name, weight)
