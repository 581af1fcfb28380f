"""What the stage propensity left: which estimator was chosen, why, and what it says of ranks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError
from training.clicks.log import FloatArray
from training.propensity.base import Estimator
from training.propensity.estimators import estimator_named
from training.propensity.from_file import read_propensities
from training.run_files import CHOICE_FILE, IDENTIFIABILITY_FILE, PROPENSITIES_FILE


@dataclass(frozen=True, slots=True)
class ChosenEstimator:
    """`name`: as the configuration has it, never "auto"; `why`: in sentences; `folder`: the
    stage's."""

    folder: Path
    name: str
    why: tuple[str, ...]

    def open(self) -> Estimator:
        """To be fitted to a log; one that was given is kept as propensities."""
        return estimator_named(self.name, self.folder / PROPENSITIES_FILE)

    def propensities(self) -> FloatArray:
        """(ranks,), NaN for unknown ones. Raises InputFileError."""
        return read_propensities(self.folder / PROPENSITIES_FILE)

    def identified_ranks(self, ranks: int) -> int:
        """How many, from the first, the log identifies; all where they were given."""
        path = self.folder / IDENTIFIABILITY_FILE
        if self.name == "file" or not path.exists():
            return ranks
        known = [bool(each["identified"]) for each in _read(path).get("ranks", [])]
        return next((rank for rank, each in enumerate(known) if not each), len(known))


def read_chosen(folder: Path) -> ChosenEstimator:
    """Of the stage's folder. Raises InputFileError."""
    path = folder / CHOICE_FILE
    tree = _read(path)
    if not isinstance(tree.get("estimator"), str):
        raise InputFileError(str(path), None, "does not say which estimator was chosen")
    return ChosenEstimator(folder, tree["estimator"], tuple(tree.get("why", ())))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputFileError(str(path), None, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputFileError(str(path), None, f"is no JSON: {error}") from error
    return found if isinstance(found, dict) else {}
