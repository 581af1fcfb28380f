"""What is known here of a model that is served elsewhere: its folder without the need of weights.

`tokenizer.json` and `config.json` are read, and `contract.json` where there is one. A causal
language model is a decoder reranker: it is served as a classifier of two of its tokens, and the
template (`template.py`) makes its prompt.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import ModelError
from sidecar.models.contract import CONTRACT_FILE, ModelContract, read_contract
from sidecar.models.formats import infer_contract
from sidecar.models.hub import find_folder
from sidecar.storage.files import digest_of

_DECODER_ENDING = "ForCausalLM"
# Families whose classifiers read a prompt, too (Qwen3-Reranker converted to one, for instance).
_DECODER_FAMILIES = ("Qwen", "Gemma", "Llama", "Mistral")


@dataclass(frozen=True, slots=True)
class ServedFolder:
    """A folder of a model for vLLM. `architecture` is the first that `config.json` names."""

    path: Path
    contract: ModelContract
    architecture: str

    @property
    def tokenizer(self) -> Path:
        """Where its tokenizer is."""
        return self.path / "tokenizer.json"

    @property
    def is_decoder(self) -> bool:
        """Whether it reads a prompt, not a pair."""
        return self.is_causal or self.architecture.startswith(_DECODER_FAMILIES)

    @property
    def is_causal(self) -> bool:
        """Whether its head predicts tokens, and is to be read as a classifier's."""
        return self.architecture.endswith(_DECODER_ENDING)

    @property
    def has_weights(self) -> bool:
        """Whether vLLM can load it."""
        return any(self.path.glob("*.safetensors"))


def read_served_folder(name: str, revision: str, kind: str) -> ServedFolder:
    """The folder of a carried name, a path or a hub name. Raises ModelError."""
    path, hub_revision = find_folder(name, revision)
    config = _read_config(path)
    architecture = str((config.get("architectures") or [""])[0])
    if (path / CONTRACT_FILE).is_file():
        contract = read_contract(path / CONTRACT_FILE)
    elif kind == "cross-encoder" and architecture.endswith(_DECODER_ENDING):
        limit = int(config.get("max_position_embeddings") or 0)
        contract = ModelContract(name=name, kind=kind, revision="", max_tokens=limit or 4096)
    else:
        contract = infer_contract(path, name, kind)
    if contract.kind != kind:
        raise ModelError(f"{name} is a {contract.kind}, a {kind} is wanted here")
    if not contract.revision:
        contract = dataclasses.replace(contract, revision=hub_revision or _revision(path))
    return ServedFolder(path, contract, architecture)


def _revision(path: Path) -> str:
    """A digest of the weights where they are here, else of what is."""
    weights = sorted(path.glob("*.safetensors")) or [path / "config.json", path / "tokenizer.json"]
    return digest_of(*(each for each in weights if each.is_file()))[:12]


def _read_config(path: Path) -> dict[str, Any]:
    """`config.json`; empty for a carried folder, which has none."""
    file = path / "config.json"
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from error
