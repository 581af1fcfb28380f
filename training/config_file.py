"""A configuration as people write and read it: file, `--set`, what is refused, the table of keys.

What no type refuses is refused here, before a run: a name that is none of those there are, a number
that cannot be meant, a loss without the teacher that it needs.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigurationError
from sidecar.typed_toml import check_choice, read_toml, with_values
from training.config import (
    BI_ENCODER,
    BY_SIZE,
    ESTIMATORS,
    METHODS,
    MOST_RECALLED,
    PAIR_LOSSES,
    RERANKER,
    TAUGHT_LOSSES,
    VECTOR_LOSSES,
    FineTuneConfig,
    MineConfig,
    TrainingConfig,
)
from training.measures import parse_measure


def load_training_config(path: Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """The configuration of a TOML file; `overrides` are "section.key=value".

    Raises ConfigurationError: unreadable file, unknown section or key, value of another type, a
    value that cannot be.
    """
    tree = read_toml(path)
    config = with_values(TrainingConfig(), tree, path=path)
    for override in overrides:
        config = with_values(config, _branch(override))
    check_training_config(config)
    return config


def check_training_config(config: TrainingConfig) -> None:
    """Raises ConfigurationError for values that no type refuses."""
    _check_numbers(config, "")
    for measure in config.evaluate.measures:
        parse_measure(measure)
    if not 0 < config.gate.alpha < 1:
        raise ConfigurationError(f"gate.alpha is {config.gate.alpha:g}: give more than 0, below 1")
    if config.propensity.estimator == "file" and not config.propensity.file:
        raise ConfigurationError("propensity.estimator is file: give propensity.file")
    for model, losses in ((BI_ENCODER, VECTOR_LOSSES), (RERANKER, PAIR_LOSSES)):
        _check_fine_tune(model, config.fine_tune(model), losses)
    check_choice("bi_encoder.role", config.bi_encoder.role, ("bi_encoder",))
    roles = ("first_reranker", "second_reranker")
    check_choice("reranker.role", config.reranker.role, roles)
    check_choice("propensity.estimator", config.propensity.estimator, ESTIMATORS)
    check_choice("publish.to", config.publish.to, ("version", "canary", "production"))
    if not 0 <= config.publish.share <= 1:
        raise ConfigurationError(f"publish.share is {config.publish.share:g}: give 0 to 1")
    held = config.collect.dev_share + config.collect.test_share
    if not 0 < held < 1:
        raise ConfigurationError(f"collect.dev_share and test_share are {held:g}: give less than 1")


def _check_numbers(section: Any, name: str) -> None:
    """Finite, and not below 0, or -1 where that says something."""
    for each in dataclasses.fields(section):
        value, full = getattr(section, each.name), f"{name}{each.name}"
        if dataclasses.is_dataclass(value):
            _check_numbers(value, f"{full}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            least = -1 if "-1" in each.metadata["doc"] or name == "gate." else 0
            if not (math.isfinite(value) and value >= least):
                raise ConfigurationError(f"{full} is {value}: give a number of {least} or more")


def _check_fine_tune(model: str, config: FineTuneConfig, losses: tuple[str, ...]) -> None:
    check_choice(f"{model}.loss", config.loss, losses)
    check_choice(f"{model}.method", config.method, METHODS)
    check_choice(f"{model}.precision", config.precision, ("auto", "fp32", "bf16", "fp16"))
    check_choice(f"{model}.gradient_cache", config.gradient_cache, ("auto", "on", "off"))
    check_choice(f"{model}.schedule", config.schedule, ("linear", "cosine", "constant"))
    if config.loss in TAUGHT_LOSSES and not config.teacher:
        raise ConfigurationError(f"{model}.loss {config.loss} needs {model}.teacher: name one")
    if not config.epochs > 0:
        raise ConfigurationError(f"{model}.epochs must be more than 0")
    if not (config.learning_rate > 0 or config.learning_rate == BY_SIZE):
        raise ConfigurationError(
            f"{model}.learning_rate must be more than 0, or -1: by the size of the base"
        )
    for name, least in (("lists_per_step", 1), ("chunk_tokens", 64), ("accumulation", 1)):
        if getattr(config, name) < least:
            raise ConfigurationError(f"{model}.{name} must be {least} or more")
    _check_mine(f"{model}.mine", config.mine)


def _check_mine(name: str, config: MineConfig) -> None:
    shares = (config.hard_share, config.skipped_share, config.random_share)
    if abs(sum(shares) - 1.0) > 1e-6 or min(shares) < 0:
        raise ConfigurationError(f"{name}: the three shares make {sum(shares):g}, not 1")
    for key in ("negatives", "most_positives", "queries_at_once", "dev_candidates", "first_rank"):
        if getattr(config, key) < 1:
            raise ConfigurationError(f"{name}.{key} must be 1 or more")
    if not 1 <= config.depth <= MOST_RECALLED:
        raise ConfigurationError(f"{name}.depth is {config.depth}: give 1 to {MOST_RECALLED}")
    if config.last_rank < config.first_rank:
        raise ConfigurationError(f"{name}.last_rank is below first_rank: no rank is between them")


def describe_training_config() -> Iterator[tuple[str, str, str]]:
    """Rows (key, default as TOML has it, sentence) of the README's table; MODEL is either model,
    whose defaults are both told where they differ."""
    yield from _rows(TrainingConfig(), "")


def _rows(section: Any, name: str, other: Any = None) -> Iterator[tuple[str, str, str]]:
    for each in dataclasses.fields(section):
        value = getattr(section, each.name)
        beside = value if other is None else getattr(other, each.name)
        if not dataclasses.is_dataclass(value):
            told = dict.fromkeys(json.dumps(one) for one in (value, beside))
            yield f"{name}{each.name}", " or ".join(told), each.metadata["doc"]
        elif each.name == BI_ENCODER:
            yield from _rows(value, f"{name}MODEL.", getattr(section, RERANKER))
        elif each.name != RERANKER:
            yield from _rows(value, f"{name}{each.name}.", other and beside)


def _branch(override: str) -> Mapping[str, Any]:
    """ "a.b=c" as {"a": {"b": "c"}}."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise ConfigurationError(f"--set {override!r}: write section.key=value")
    tree: Any = text
    for name in reversed(path.strip().split(".")):
        tree = {name: tree}
    branch: Mapping[str, Any] = tree
    return branch
