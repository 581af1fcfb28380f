"""What the gate is shown: both models' values per query, their latency, the export's parity.

A stage that measures writes an Evidence as JSON; `read_evidence` checks it, `gate.judge` judges it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.errors import InputFileError


@dataclass(frozen=True, slots=True)
class Latency:
    """p99 of both models on the same machine, over the same requests."""

    production_milliseconds: float
    candidate_milliseconds: float


@dataclass(frozen=True, slots=True)
class Parity:
    """The exported model through the real server, beside the trained one, over the same pairs.

    `measure_difference`: served - trained, of the primary measure.
    """

    pairs: int
    rank_correlation: float
    measure_difference: float


@dataclass(frozen=True, slots=True)
class Both:
    """Another measure, or the same of another stage: query id -> value."""

    measure: str
    production: Mapping[str, float]
    candidate: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured. `production`, `candidate`: query id -> value of the primary measure.

    `slices`: name -> query ids. `also`: what may be guarded as well, over all queries. `beside`:
    production with what else the same run has accepted, which the candidate has, too. `failed`:
    queries on which a stage of the candidate failed. None: it was not measured.
    """

    measure: str
    production: Mapping[str, float]
    candidate: Mapping[str, float]
    slices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    latency: Latency | None = None
    parity: Parity | None = None
    also: Mapping[str, Both] = field(default_factory=dict)
    beside: Mapping[str, float] | None = None
    failed: int = 0


def parity_of(
    trained: Sequence[float], served: Sequence[float], measure_difference: float
) -> Parity:
    """Spearman's correlation of the scores of the same pairs; NaN where a score is not finite."""
    one, other = np.asarray(trained, np.float64), np.asarray(served, np.float64)
    if one.shape != other.shape:
        raise ValueError(f"{len(one)} pairs were scored in training, {len(other)} were served")
    if len(one) < 2 or not np.isfinite([one, other]).all():
        return Parity(len(one), math.nan, measure_difference)
    ranks = [_average_ranks(each) for each in (one, other)]
    if min(float(np.ptp(each)) for each in ranks) == 0.0:
        return Parity(len(one), math.nan, measure_difference)
    return Parity(len(one), float(np.corrcoef(*ranks)[0, 1]), measure_difference)


def _average_ranks(scores: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    """(pairs,): ranks from the lowest, ties have the mean of theirs."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[place]


def write_evidence(evidence: Evidence, path: Path) -> None:
    """As `read_evidence` reads it."""
    path.write_text(json.dumps(dataclasses.asdict(evidence)) + "\n", encoding="utf-8")


def read_evidence(path: Path) -> Evidence:
    """An Evidence as a JSON object with the same names. Raises InputFileError."""
    given = _object(path)
    kinds = {"latency": Latency, "parity": Parity}
    try:
        for name, kind in kinds.items():
            if given.get(name) is not None:
                given[name] = kind(**given[name])
        given["also"] = {name: Both(**each) for name, each in given.get("also", {}).items()}
        evidence = Evidence(**given)
        parts = [dataclasses.asdict(part) for part in (evidence.latency, evidence.parity) if part]
        tables = [evidence.production, evidence.candidate, evidence.beside or {}, *parts]
        tables += [
            one for both in evidence.also.values() for one in (both.production, both.candidate)
        ]
        for values in tables:
            _check_numbers(values)
    except (TypeError, AttributeError) as error:
        raise InputFileError(str(path), None, f"is no evidence for the gate: {error}") from error
    return evidence


def _object(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputFileError(str(path), None, str(error)) from error
    except json.JSONDecodeError as error:
        raise InputFileError(str(path), error.lineno, error.msg) from error
    if not isinstance(given, dict):
        raise InputFileError(str(path), None, "holds no JSON object")
    return given


def _check_numbers(values: Mapping[str, float]) -> None:
    for query_id, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"the value of {query_id!r} is no number: {value!r}")
