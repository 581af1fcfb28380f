"""What a model being trained reads and gives: what its contract will say, kept beside its weights.

`spec.json` in the folder of every model that training writes: `training/fine_tuning` makes one of a
base, `training/exporting` makes a contract of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import InputFileError

SPEC_FILE = "spec.json"
KINDS = ("bi-encoder", "cross-encoder")
HEADS = ("none", "classifier", "yes_no")  # yes_no: made of a decoder's rows for "yes" and "no"


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Budgets are in the model's own tokens, without special ones; `max_tokens` counts all.

    `template` is the prompt of a decoder with {query} and {passage} in it, "" for encoders;
    `weight` the share of a reranker's score against the stage before.
    """

    kind: str  # one of KINDS
    base: str  # a name for people
    base_revision: str
    head: str = "none"  # one of HEADS
    pooling: str = "mean"  # bi-encoders: "mean", "cls" or "last"
    normalize: bool = True
    query_prefix: str = ""
    passage_prefix: str = ""
    query_tokens: int = 64
    passage_tokens: int = 256
    max_tokens: int = 512
    template: str = ""
    languages: tuple[str, ...] = ()
    licence: str = ""
    weight: float = 1.0

    @property
    def template_digest(self) -> str:
        """sha256 of the template, "" without one."""
        return hashlib.sha256(self.template.encode()).hexdigest() if self.template else ""


def write_spec(spec: ModelSpec, folder: Path) -> None:
    """Beside the weights."""
    text = json.dumps(dataclasses.asdict(spec), indent=2, ensure_ascii=False)
    (folder / SPEC_FILE).write_text(text + "\n", encoding="utf-8")


def read_spec(folder: Path) -> ModelSpec:
    """What `write_spec` wrote. Raises InputFileError."""
    path = folder / SPEC_FILE
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        spec = ModelSpec(**{**tree, "languages": tuple(tree.get("languages", ()))})
    except (OSError, ValueError, TypeError) as error:
        raise InputFileError(str(path), None, f"is no description of a model: {error}") from error
    if spec.kind not in KINDS or spec.head not in HEADS:
        raise InputFileError(str(path), None, f"kind {spec.kind!r}, head {spec.head!r}: not known")
    return spec
