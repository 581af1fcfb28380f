"""Times production and the candidate as real servers: each a `sidecar serve` of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidecar.errors import SidecarError
from sidecar.evaluation.evaluate import stage_name
from sidecar.models.runtime_choice_file import CHOICE_FILE
from training.config import SidecarConfig
from training.evaluation.decoders import is_decoder
from training.evaluation.latency import Ask, Timed, timed
from training.evaluation.lineup import CANDIDATE, PRODUCTION, Lineup
from training.evaluation.running import Measured
from training.evaluation.systems import COLLECTION, STAGE_OF
from training.models.production import ROLES
from training.serving.client import SidecarClient
from training.serving.models import serving_models
from training.serving.private import private_sidecar

SECTIONS = ("recall", "fusion", "dense_index", "first_reranker", "second_reranker", "runtime")
NOT_SET = ("model", "revision", "vllm_urls")


def reason_not_to_time(named: Lineup) -> str:
    """Why the servers cannot be timed here, "" if they can."""
    for name in (PRODUCTION, CANDIDATE):
        for role in ROLES:
            model, kind = named.systems[name].of(role), "bi-encoder"
            kind = kind if role == "bi_encoder" else "cross-encoder"
            if model and is_decoder(model, kind):
                return (
                    f"The {role} of {name} is a decoder, which vLLM serves: latency is not known."
                )
    return ""


def served_otherwise(sidecar: SidecarConfig, measured: Measured) -> Iterator[str]:
    """A sentence for each model that the sidecar which runs has another of than production was
    measured with."""
    if not sidecar.address:
        return
    try:
        serving = serving_models(sidecar.address, sidecar.timeout_seconds)
    except SidecarError as error:
        yield f"What serves could not be asked of {sidecar.address}: {error.message}"
        return
    measured_with = measured.ranked[PRODUCTION].models
    for role, stage in STAGE_OF.items():
        ours, its = measured_with.get(stage_name(stage), ""), serving.get(role)
        if its is not None and its.name and ours != f"{its.name}@{its.revision}":
            yield (
                f"{sidecar.address} serves {its.name}@{its.revision} as {role}, production was "
                f"measured with {ours or 'none'}: name its configuration in sidecar.configuration."
            )


def timed_servers(
    named: Lineup,
    folders: Mapping[str, Path],
    indexes: Path,
    scratch: Path,
    queries: Sequence[str],
    requests: int,
) -> Timed:
    """`folders`: data folders with the corpus indexed, by system; `indexes` has the choices of
    runtimes that both were measured with, and are served with. Raises ModelError, SidecarError."""
    with contextlib.ExitStack() as stack:
        asks = {
            name: _asker(named, name, folders[name], indexes, scratch, stack)
            for name in (PRODUCTION, CANDIDATE)
        }
        return timed(asks[PRODUCTION], asks[CANDIDATE], queries, requests)


def _asker(
    named: Lineup,
    name: str,
    index: Path,
    indexes: Path,
    scratch: Path,
    stack: contextlib.ExitStack,
) -> Ask:
    """Asks a sidecar over a copy of the index: two cannot have the same folder."""
    data = scratch / f"served-{name}"
    shutil.rmtree(data, ignore_errors=True)
    shutil.copytree(index, data)
    if (indexes / CHOICE_FILE).exists():
        shutil.copy(indexes / CHOICE_FILE, data)
    models = {
        role: model for role, model in dataclasses.asdict(named.systems[name]).items() if model
    }
    log = scratch / f"served-{name}.log"
    address = stack.enter_context(private_sidecar(data, models, log, _settings(named)))
    client = stack.enter_context(SidecarClient(address, COLLECTION))
    return lambda query: client.search(query, use_cache=False)


def _settings(named: Lineup) -> dict[str, dict[str, Any]]:
    """How the sidecar in question is configured, but for its models."""
    return {
        name: {
            key: value
            for key, value in dataclasses.asdict(getattr(named.config, name)).items()
            if key not in NOT_SET
        }
        for name in SECTIONS
    }
