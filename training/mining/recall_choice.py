"""Which recall a model's negatives come from: that of the models which will serve beside it.

a sidecar runs, and its bi-encoder is the one that will serve     its live recall
no sidecar runs                                                   own recall, production's models
the run's bi-encoder was accepted, and does not serve all yet     own recall with it: mined again
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sidecar.storage.files import digest_of
from training.config import SidecarConfig, TrainingConfig
from training.evaluation.systems import Systems
from training.mining.recall import LiveRecall, OwnRecall, Recall
from training.models.production import (
    Models,
    accepted_bi_encoder,
    production_models,
    sidecar_config,
)
from training.serving.client import SidecarClient
from training.serving.models import files_of, serving_models

_WEIGHTS = ("*.onnx", "*.onnx_data", "*.safetensors")


@dataclass(frozen=True, slots=True)
class OpenedRecall:
    """`about`: which it is and why, in words; `client`: of the sidecar that runs, if one does."""

    recall: Recall
    about: str
    client: SidecarClient | None


@contextlib.contextmanager
def open_recall(
    config: TrainingConfig,
    model: str,
    inputs: Mapping[str, Path],
    kept: Path,
    scratch: Path,
    tell: Callable[[str], None],
) -> Iterator[OpenedRecall]:
    """For one of MODELS, given the folders of finished stages. `kept`: where indexes of own recall
    are kept, by corpus and bi-encoder; `tell` is told how far they are.

    Raises SidecarError, ConfigurationError.
    """
    at_once = config.fine_tune(model).mine.queries_at_once
    renewed = accepted_bi_encoder(inputs)
    with contextlib.ExitStack() as opened:
        client = None
        if config.sidecar.address:
            client = opened.enter_context(_connected(config.sidecar, at_once))
        if client is not None and (not renewed or serves_files_of(config.sidecar, Path(renewed))):
            about = f"live recall of {config.sidecar.address}"
            about += ", which has the bi-encoder of this run" if renewed else ""
            yield OpenedRecall(LiveRecall(client), about, client)
            return
        own = sidecar_config(config)
        bi_encoder = renewed or production_models(config, own, kept).bi_encoder
        systems = opened.enter_context(Systems(own, inputs["collect"], kept, scratch, tell))
        recall = OwnRecall(*systems.searcher(Models(bi_encoder, "", "")), at_once)
        why = "the bi-encoder of this run" if renewed else "no sidecar runs"
        yield OpenedRecall(recall, f"own recall: {why}", client)


def _connected(sidecar: SidecarConfig, at_once: int) -> SidecarClient:
    return SidecarClient(sidecar.address, sidecar.collection, sidecar.timeout_seconds, at_once)


def serves_files_of(sidecar: SidecarConfig, folder: Path) -> bool:
    """Whether the sidecar's production bi-encoder has the weights of a folder."""
    serving = serving_models(sidecar.address, sidecar.timeout_seconds).get("bi_encoder")
    if serving is None or not serving.registry_model:
        return False
    files = files_of(
        sidecar.address, serving.registry_model, serving.version, sidecar.timeout_seconds
    )
    weights = [file for pattern in _WEIGHTS for file in folder.rglob(pattern)]
    names = {str(file.relative_to(folder)): digest_of(file) for file in weights}
    return bool(names) and names.items() <= files.items()
