"""What the gate asks of a candidate, as values and as a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sidecar.errors import ConfigurationError, InputFileError
from training.evaluation.significance import DRAWS


@dataclass(frozen=True, slots=True)
class Rules:
    """What is asked of a candidate. None switches a check off.

    `guards`: slice -> how much lower the mean of the primary measure may be there. That it is no
    lower has to be shown: the lower bound at `guard_confidence` (one-sided) must not be below
    -tolerance. Every guard must hold, so their number needs no correction. A slice of fewer than
    `least_guarded_queries` is refused: what it loses rarely its bound does not see.
    """

    alpha: float = 0.05
    least_gain: float = 0.003
    guards: Mapping[str, float] = field(default_factory=dict)
    guard_confidence: float = 0.95
    least_guarded_queries: int = 50
    latency_ratio: float | None = 1.1
    latency_milliseconds: float | None = None
    rank_correlation: float | None = 0.995
    measure_difference: float | None = 0.005
    draws: int = DRAWS
    seed: int = 0


def read_rules(path: Path) -> Rules:
    """Rules as TOML with the same names; an unknown key is a ConfigurationError."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputFileError(str(path), None, str(error)) from error
    known = {each.name for each in dataclasses.fields(Rules)}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ConfigurationError(f"{path}: {unknown[0]!r} is no rule of the gate: {sorted(known)}")
    _check_rules(given, path)
    return Rules(**given)


def _check_rules(given: Mapping[str, Any], path: Path) -> None:
    """Every rule is a number that can be meant; `guards` are a table of tolerances."""
    guards = given.get("guards", {})
    if not isinstance(guards, dict):
        raise ConfigurationError(f"{path}: guards is a table: slice = tolerance")
    rules = {name: value for name, value in given.items() if name != "guards"}
    for name, value in {
        **rules,
        **{f"guards.{name}": value for name, value in guards.items()},
    }.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise ConfigurationError(f"{path}: {name} must be a number of 0 or more, not {value!r}")
    for name, least in (("alpha", 0.0), ("guard_confidence", 0.5)):
        if not least < given.get(name, 0.75) < 1:
            raise ConfigurationError(f"{path}: {name} must be between {least:g} and 1")
    for name in ("draws", "seed", "least_guarded_queries"):
        if not isinstance(given.get(name, 1), int):
            raise ConfigurationError(f"{path}: {name} must be a whole number")
    if given.get("draws", 1) < 1:
        raise ConfigurationError(f"{path}: draws must be 1 or more")
