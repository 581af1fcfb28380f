"""A TOML file, overridden by the environment, as the one configuration.

An unknown section or key stops the start and names the nearest known one. The environment variable
of a key is SIDECAR_<SECTION>__<KEY>, for instance SIDECAR_FIRST_RERANKER__DEPTH=50, and
SIDECAR_BACKENDS__<NAME>__<KEY> of a backend's.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidecar.config import MAX_RERANK_DEPTH, BackendConfig, Config, RerankerConfig
from sidecar.errors import ConfigurationError
from sidecar.typed_toml import check_choice, read_toml, sections_of, with_values

ENVIRONMENT_PREFIX = "SIDECAR_"


def load_config(path: Path | None, environment: Mapping[str, str] = os.environ) -> Config:
    """The configuration of a TOML file (None: defaults) overridden by the environment.

    Raises ConfigurationError: unreadable file, unknown section or key, value of another type.
    """
    tree = read_toml(path)
    for section, key, text in _environment_entries(environment):
        _set(tree.setdefault(section, {}), key, text)
    config = with_values(Config(), tree, path=path)
    check_config(config)
    return config


def check_config(config: Config) -> None:
    """Raises ConfigurationError for values that no single type can refuse."""
    _check_ranges(config)
    if 0.0 < config.guard.p99_ratio < 1.0:
        raise ConfigurationError(
            f"guard.p99_ratio is {config.guard.p99_ratio:g}, by which equals are taken away: give "
            "1 or more, or 0 for any"
        )
    if config.registry.follow_seconds and not config.registry.url:
        raise ConfigurationError(
            "registry.follow_seconds is set without registry.url: give it, too"
        )
    check_choice("fusion.method", config.fusion.method, ("rrf", "convex"))
    kinds = ("auto", "flat", "fp16", "ivf", "hnsw")
    check_choice("dense_index.kind", config.dense_index.kind, kinds)
    check_choice("dense_index.gpu", config.dense_index.gpu, ("auto", "off"))
    check_choice("runtime.runtime", config.runtime.runtime, ("auto", "openvino", "onnxruntime"))
    check_choice("runtime.precision", config.runtime.precision, ("auto", "fp32", "bf16", "int8"))
    check_choice("vllm.dtype", config.vllm.dtype, ("auto", "half", "bfloat16", "float32"))
    for name in ("first_reranker", "second_reranker"):
        reranker: RerankerConfig = getattr(config, name)
        if reranker.weight != -1.0 and not 0.0 <= reranker.weight <= 1.0:
            raise ConfigurationError(f"{name}.weight is {reranker.weight}: give -1 or 0 to 1")
        if not 0 <= reranker.depth <= MAX_RERANK_DEPTH:
            raise ConfigurationError(
                f"{name}.depth is {reranker.depth}: give 0 to {MAX_RERANK_DEPTH}"
            )
        try:
            reranker.to_truncation()
        except ConfigurationError as error:
            raise ConfigurationError(f"{name}.{error.message}") from None
    for name, backend in config.backends.items():
        _check_backend(name, backend)
    for leg, depth in (
        ("lexical", config.recall.lexical_depth),
        ("dense", config.recall.dense_depth),
    ):
        if not 1 <= depth <= 10_000:
            raise ConfigurationError(f"recall.{leg}_depth is {depth}: give 1 to 10000")


def _check_backend(name: str, backend: BackendConfig) -> None:
    check_choice(f"backends.{name}.kind", backend.kind, ("opensearch", "milvus"))
    if not backend.url:
        raise ConfigurationError(f"backends.{name}.url is empty: give the backend's address")
    if backend.timeout_seconds <= 0.0:
        raise ConfigurationError(
            f"backends.{name}.timeout_seconds is {backend.timeout_seconds}: give more than 0"
        )
    if backend.shards < 1:
        raise ConfigurationError(f"backends.{name}.shards is {backend.shards}: give 1 or more")
    if not re.fullmatch(r"\d+(-(\d+|all))?", backend.replicas):
        raise ConfigurationError(
            f'backends.{name}.replicas is {backend.replicas!r}: give a number, or a range as "0-1"'
        )


# The least value of keys of which a smaller one would make no sense; most of the others may be 0.
_LEAST: dict[str, float] = {
    "server.max_message_bytes": 1024,
    "server.default_timeout_seconds": 0.001,
    "server.max_calls": 1,
    "server.session_queue_requests": 1,
    "bi_encoder.batch_size": 1,
    "first_reranker.max_chunks": 1,
    "second_reranker.max_chunks": 1,
    "first_reranker.batch_tokens": 1,
    "second_reranker.batch_tokens": 1,
    "planner.sub_request_candidates": 1,
    "pages.max_bytes": 1024 * 1024,
    "pages.minutes": 0.01,
    "feedback.queue_impressions": 1,
    "feedback.token_hours": 0.01,
    "feedback.queue_events": 1,
    "feedback.stream_requests": 1,
    "guard.least_answers": 1,
    "first_reranker.weight": -1,
    "second_reranker.weight": -1,
}
_MOST: dict[str, float] = {
    "planner.second_share": 1.0,
    "recall.deadline_share": 1.0,
    "planner.pace_quantile": 1.0,
    "feedback.exploration_share": 1.0,
    "guard.failure_margin": 1.0,
}


def _check_ranges(config: Config) -> None:
    """Raises ConfigurationError for a number that is too small or too large for its key."""
    for section in _plain_sections():
        values = getattr(config, section)
        for key in dataclasses.fields(values):
            name, value = f"{section}.{key.name}", getattr(values, key.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if not value >= _LEAST.get(name, 0):
                raise ConfigurationError(f"{name} is {value}: give {_LEAST.get(name, 0):g} or more")
            if value > _MOST.get(name, float("inf")):
                raise ConfigurationError(f"{name} is {value}: give {_MOST[name]:g} or less")


def describe_config() -> list[tuple[str, str, str, str]]:
    """Rows (key, default, environment variable, sentence) of the README's table."""
    rows = []
    sections = {name: getattr(Config(), name) for name in _plain_sections()}
    sections |= {f"{name}.NAME": kind() for name, kind in sections_of(Config()).items()}
    for section, values in sections.items():
        for key in dataclasses.fields(values):
            name, default = f"{section}.{key.name}", str(getattr(values, key.name))
            variable = ENVIRONMENT_PREFIX + name.replace(".", "__").upper()
            rows.append((name, default, variable, key.metadata["doc"]))
    return rows


def _plain_sections() -> list[str]:
    """The sections of which there is one."""
    several = sections_of(Config())
    return [each.name for each in dataclasses.fields(Config) if each.name not in several]


def _set(section: dict[str, Any], key: str, text: str) -> None:
    """Sets a key ("depth") of a section, or of one below it ("shop__url")."""
    name, _, below = key.partition("__")
    if below and isinstance(section.setdefault(name, {}), dict):
        _set(section[name], below, text)
    else:
        section[key] = text


def _environment_entries(environment: Mapping[str, str]) -> list[tuple[str, str, str]]:
    entries = []
    for variable, text in sorted(environment.items()):
        if variable.startswith(ENVIRONMENT_PREFIX) and "__" in variable:
            section, _, key = variable[len(ENVIRONMENT_PREFIX) :].lower().partition("__")
            entries.append((section, key, text))
    return entries
