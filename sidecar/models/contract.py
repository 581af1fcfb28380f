"""What a model promises, read from `contract.json` in its folder or inferred (see `formats.py`).

The JSON has the names of the fields below; `files` is an object {file name: sha256 hex digest} and
`golden_pairs` a list of {"query", "passage", "score"}. Fields left out have the defaults below;
others (where the model comes from, its licence) are for people and for later versions, not read.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import ModelError

CONTRACT_FILE = "contract.json"


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """Logit -> probability of relevance: 1 / (1 + exp(-(slope x logit + intercept)))."""

    method: str  # "platt"
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if self.method != "platt":
            raise ValueError(f"unknown calibration {self.method!r}: platt is known")
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept)) or self.slope <= 0:
            raise ValueError(f"calibration {self.slope}, {self.intercept}: would turn the order")

    def probability(self, logit: float) -> float:
        """0 to 1, growing with the logit."""
        x = self.slope * logit + self.intercept
        return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else 1.0 - 1.0 / (1.0 + math.exp(min(x, 700.0)))


@dataclass(frozen=True, slots=True)
class ModelContract:
    """What a model promises.

    `languages` are ISO 639-1 codes; empty means any. `weight` is the share of a cross-encoder's
    score against the earlier stage's. `max_tokens` counts special tokens and both texts;
    `max_query_tokens` and `max_passage_tokens` are those it was trained with, 0 for no such limit
    (configured budgets above them are lowered to them). The score of a golden
    pair is the logit (cross-encoder) or the cosine (bi-encoder) that fp32 gives. `files` are sha256
    hex digests by file name. `calibration` turns a cross-encoder's logit into a probability.
    """

    name: str
    kind: str  # "bi-encoder" or "cross-encoder"
    revision: str
    languages: tuple[str, ...] = ()
    max_tokens: int = 512
    max_query_tokens: int = 0
    max_passage_tokens: int = 0
    dimensions: int = 0
    pooling: str = "mean"
    normalize: bool = True
    query_prefix: str = ""
    passage_prefix: str = ""
    weight: float = 1.0
    eight_bit_holds: bool = False
    calibration: ScoreCalibration | None = None
    golden_pairs: Sequence[tuple[str, str, float]] = ()
    files: tuple[tuple[str, str], ...] = ()

    def serves(self, language: str) -> bool:
        """Whether a query in `language` ("" when unknown) is within the contract."""
        return not self.languages or not language or language in self.languages

    def query_budget(self, asked: int) -> int:
        """The budget of a query, in its own tokens."""
        return min(asked, self.max_query_tokens or asked)

    def passage_budget(self, asked: int) -> int:
        """The budget of a passage, in its own tokens."""
        return min(asked, self.max_passage_tokens or asked)

    def probability(self, logit: float) -> float | None:
        """Of relevance, by the calibration published with the model; None where there is none."""
        return None if self.calibration is None else self.calibration.probability(logit)


def read_contract(path: Path) -> ModelContract:
    """The contract in a `contract.json`. Raises ModelError: unreadable, a key missing or wrong."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(tree, dict):
        raise ModelError(f"{path} must hold one JSON object")
    try:
        return _from_json(tree)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} is not a model contract: {error}") from error


def to_json(contract: ModelContract) -> dict[str, Any]:
    """The object that `read_contract` reads back as an equal contract."""
    tree = dataclasses.asdict(contract)
    tree["files"] = dict(contract.files)
    tree["languages"] = list(contract.languages)
    tree["golden_pairs"] = [
        {"query": query, "passage": passage, "score": score}
        for query, passage, score in contract.golden_pairs
    ]
    return tree


def _from_json(tree: dict[str, Any]) -> ModelContract:
    fields = {field.name for field in dataclasses.fields(ModelContract)}
    values = {key: value for key, value in tree.items() if key in fields}
    _check_types(values)
    calibration = tree.get("calibration")
    values["calibration"] = None if calibration is None else ScoreCalibration(**calibration)
    values["languages"] = tuple(tree.get("languages", ()))
    values["files"] = tuple(sorted(tree.get("files", {}).items()))
    values["golden_pairs"] = tuple(
        (str(golden["query"]), str(golden["passage"]), float(golden["score"]))
        for golden in tree.get("golden_pairs", ())
    )
    return ModelContract(**values)


_PLAIN: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
}


def _check_types(values: dict[str, Any]) -> None:
    """Raises TypeError for a number, text or flag that is none."""
    for field in dataclasses.fields(ModelContract):
        allowed = _PLAIN.get(str(field.type))
        if allowed is None or field.name not in values:
            continue
        value = values[field.name]
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise TypeError(f"{field.name} is {value!r}, not a value of type {field.type}")
