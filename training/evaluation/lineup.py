"""Which models are measured beside one another.

configuration of the sidecar, registry, outcome of the run -> `lineup` -> Lineup: name -> Models

    bm25          the lexical leg alone, read off production's run
    zero_shot     production with the model that training began with
    production    what serves now
    beside        production with the bi-encoder that this run has accepted: what is there already
                  when a reranker is judged
    candidate     that, with the model in question
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sidecar.config import Config
from sidecar.pipeline.resolution import REGISTRY_PREFIX
from training.config import RERANKER, TrainingConfig
from training.models.bases import base_name
from training.models.production import (
    Models,
    accepted_bi_encoder,
    fetched_folder,
    production_models,
    served_folder,
    sidecar_config,
)

BM25, ZERO_SHOT, PRODUCTION, BESIDE, CANDIDATE = (
    "bm25",
    "zero_shot",
    "production",
    "beside",
    "candidate",
)


@dataclass(frozen=True, slots=True)
class Lineup:
    """`systems` by name, PRODUCTION and CANDIDATE among them; `role`: whose model is judged;
    `config`: how the sidecar runs them; `notes`: what is missing, in sentences."""

    role: str
    config: Config
    systems: Mapping[str, Models]
    notes: tuple[str, ...] = ()


def lineup(config: TrainingConfig, model: str, inputs: Mapping[str, Path], kept: Path) -> Lineup:
    """Of one of MODELS, given the folders of finished stages; files from a registry go to `kept`.

    Raises ConfigurationError, InputFileError, ModelRefusedError, StorageError.
    """
    sidecar = sidecar_config(config)
    role = config.fine_tune(model).role
    production = production_models(config, sidecar, kept)
    systems = {PRODUCTION: production}
    notes: tuple[str, ...] = ()
    if config.evaluate.zero_shot:
        base = base_model(config, model, production, kept)
        if base == production.of(role):
            notes = ("Training began with the model in production: zero-shot is production.",)
        else:
            systems[ZERO_SHOT] = production.having(role, base)
    there = production
    if model == RERANKER and (found := accepted_bi_encoder(inputs)):
        there = production.having("bi_encoder", found)
        systems[BESIDE] = there
    systems[CANDIDATE] = there.having(role, str(served_folder(inputs[f"{model}/export"])))
    return Lineup(role, sidecar, systems, notes)


def base_model(config: TrainingConfig, model: str, production: Models, kept: Path) -> str:
    """What training began with, as production is named where it is that."""
    name, role = base_name(config, model), config.fine_tune(model).role
    if not config.fine_tune(model).base and production.of(role):
        return production.of(role)
    if name.startswith(REGISTRY_PREFIX):
        return fetched_folder(config, sidecar_config(config), name, kept)
    return name
