"""Propensities that are known already: {"propensities": [1, 0.7, ...]}, from rank 1."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidecar.errors import InputFileError
from training.clicks.log import ClickLog, FloatArray
from training.propensity.base import ClickModel, PositionModel, position_model


@dataclass(frozen=True, slots=True)
class PropensityFile:
    """Of another experiment, a swap test, or an earlier run; ranks beyond it count as its last."""

    path: Path
    name: str = "file"

    def fit(self, log: ClickLog) -> PositionModel:
        """The relevances under the file's propensities. Raises InputFileError."""
        given = read_propensities(self.path)
        last = len(given) - 1
        return position_model(self.name, log, given[np.minimum(np.arange(log.ranks), last)])


def write_propensities(path: Path, model: ClickModel) -> None:
    """A model's propensities, as this estimator reads them; unknown ones are null."""
    values = [round(float(p), 6) if np.isfinite(p) else None for p in model.propensities]
    path.write_text(json.dumps({"estimator": model.name, "propensities": values}) + "\n")


def read_propensities(path: Path) -> FloatArray:
    """(ranks,), NaN for unknown ones. Raises InputFileError."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        given = np.array([np.nan if p is None else float(p) for p in tree["propensities"]])
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        message = 'no propensities: {"propensities": [1, 0.7, ...]} is expected'
        raise InputFileError(str(path), None, message) from error
    if not len(given) or not given[0] > 0 or (given < 0).any() or (given == np.inf).any():
        raise InputFileError(str(path), None, "propensities are 0 or more, and that of rank 1 is")
    relative: FloatArray = given / given[0]
    return relative
