"""Times production and the candidate as real servers: each a `sidecar serve` of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sidecar.models.runtime_choice_file import CHOICE_FILE
from training.evaluation.decoders import is_decoder
from training.evaluation.latency import Ask, Timed, timed
from training.evaluation.lineup import CANDIDATE, PRODUCTION, ROLES, Lineup
from training.evaluation.systems import COLLECTION
from training.serving.client import SidecarClient
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
