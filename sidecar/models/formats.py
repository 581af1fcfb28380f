"""A model folder in any of the formats the ecosystem uses -> its files and its contract.

Known: a folder with `contract.json` (carried or published models); ONNX (`model.onnx` or
`onnx/model.onnx`); transformers (`config.json`, `model.safetensors`); sentence-transformers
(`modules.json` above it, both spellings of its files), for bi-encoders and cross-encoders.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import ModelError
from sidecar.models.contract import CONTRACT_FILE, ModelContract, read_contract
from sidecar.models.pooling import POOLINGS
from sidecar.storage.files import digest_of

ONNX_FILES = ("model.onnx", "onnx/model.onnx")
EIGHT_BIT_FILES = ("model_int8.onnx", "onnx/model_int8.onnx", "onnx/model_quantized.onnx")
_MONOTONE_ACTIVATIONS = ("Identity", "Sigmoid", "Tanh")
_UNLIMITED_TOKENS = 100_000  # tokenizers write a huge number for "no limit"


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a folder holds. Exactly one of `onnx` and `safetensors` is used: `onnx` if it is set."""

    folder: Path
    contract: ModelContract
    onnx: Path | None
    safetensors: tuple[Path, ...] = ()
    eight_bit_onnx: Path | None = None

    @property
    def tokenizer(self) -> Path:
        """Where its tokenizer is, if it has a fast one."""
        return self.folder / "tokenizer.json"


def read_folder(folder: Path, name: str, kind: str, revision: str) -> ModelFiles:
    """The files and the contract of a folder.

    `revision` is that of the hub; "" for a folder, whose revision is its contract's or the digest
    of its weights. Raises ModelError for a folder that is none of the known formats, is damaged, or
    holds a model of another kind.
    """
    onnx = _first_file(folder, ONNX_FILES)
    safetensors = tuple(sorted(folder.glob("*.safetensors")))
    if onnx is None and not safetensors:
        raise ModelError(_no_weights(folder))
    if (folder / CONTRACT_FILE).is_file():
        contract = read_contract(folder / CONTRACT_FILE)
        _check_files(folder, contract)
    else:
        contract = infer_contract(folder, name, kind)
        weights = (onnx,) if onnx is not None else safetensors
        revision = revision or digest_of(*weights)[:12]
        contract = dataclasses.replace(contract, revision=revision)
    if contract.kind != kind:
        raise ModelError(f"{name} is a {contract.kind}, a {kind} is wanted here")
    return ModelFiles(folder, contract, onnx, safetensors, _first_file(folder, EIGHT_BIT_FILES))


def _first_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _no_weights(folder: Path) -> str:
    if any(folder.glob("pytorch_model*.bin")):
        return (
            f"{folder} holds its weights as a pickle, which can run code and is not read: "
            "save the model with save_pretrained(..., safe_serialization=True)"
        )
    return f"{folder} holds neither {' nor '.join(ONNX_FILES)} nor *.safetensors"


def _check_files(folder: Path, contract: ModelContract) -> None:
    for name, expected in contract.files:
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path} is missing: fetch or build the model again")
        if digest_of(path) != expected:
            raise ModelError(
                f"{path} is not the file that {CONTRACT_FILE} describes (sha256 differs): "
                "fetch or build the model again"
            )


def infer_contract(folder: Path, name: str, kind: str) -> ModelContract:
    """The contract of a folder that has none, without a revision. Raises ModelError."""
    config = _read_json(folder / "config.json", required=True)
    found = _kind_of(folder, config)
    if found != kind:
        raise ModelError(f"{name} is a {found}, a {kind} is wanted here")
    shared = _read_json(folder / "config_sentence_transformers.json")
    contract = ModelContract(
        name=name, kind=kind, revision="", max_tokens=_max_tokens(folder, config)
    )
    if kind == "cross-encoder":
        _check_head(name, config, shared)
        return contract
    prompts = shared.get("prompts") or {}
    return dataclasses.replace(
        contract,
        dimensions=int(config.get("hidden_size") or config.get("dim") or 0),
        pooling=_pooling(folder, name),
        query_prefix=prompts.get("query") or "",
        passage_prefix=prompts.get("document") or prompts.get("passage") or "",
    )


def _kind_of(folder: Path, config: dict[str, Any]) -> str:
    architectures = config.get("architectures") or [""]
    if str(architectures[0]).endswith("ForSequenceClassification"):
        return "cross-encoder"
    return "bi-encoder"


def _check_head(name: str, config: dict[str, Any], shared: dict[str, Any]) -> None:
    """One label, and an activation that keeps the order of the logits."""
    labels = config.get("num_labels") or len(config.get("id2label") or {0: "", 1: ""})
    if labels != 1:
        raise ModelError(
            f"{name} has {labels} labels: a reranker needs a cross-encoder with one (num_labels 1)"
        )
    inner = config.get("sentence_transformers") or {}
    activation = str(
        shared.get("activation_fn")
        or inner.get("activation_fn")
        or config.get("sbert_ce_default_activation_function")
        or "Identity"
    ).rpartition(".")[2]
    if activation not in _MONOTONE_ACTIVATIONS:
        raise ModelError(
            f"{name} has the activation {activation}: only {', '.join(_MONOTONE_ACTIVATIONS)} "
            "keep the order of the logits"
        )


def _pooling(folder: Path, name: str) -> str:
    """The pooling of a sentence-transformers folder; "mean" for one without `modules.json`."""
    modules = _read_json(folder / "modules.json") or []
    for module in modules:
        kind = str(module["type"]).rpartition(".")[2]
        if kind not in ("Transformer", "Pooling", "Normalize"):
            raise ModelError(f"{name} has a {kind} module, which is not supported")
    paths = [str(m["path"]) for m in modules if str(m["type"]).endswith("Pooling")] or ["1_Pooling"]
    config = _read_json(folder / paths[0] / "config.json")
    if not config:
        return "mean"
    if not config.get("include_prompt", True):
        raise ModelError(f"{name} leaves its prompt out of pooling, which is not supported")
    modes = {
        "cls": "cls",
        "mean": "mean",
        "max": "max",
        "lasttoken": "last",
        "cls_token": "cls",
        "mean_tokens": "mean",
        "max_tokens": "max",
    }
    chosen = config.get("pooling_mode")
    asked = [chosen] if chosen else [m for m in _old_modes(config) if config[f"pooling_mode_{m}"]]
    if len(asked) != 1 or asked[0] not in modes:
        raise ModelError(f"{name} pools by {asked}: one of {', '.join(POOLINGS)} is supported")
    return modes[asked[0]]


def _old_modes(config: dict[str, Any]) -> list[str]:
    prefix = "pooling_mode_"
    return [key[len(prefix) :] for key in config if key.startswith(prefix)]


def _max_tokens(folder: Path, config: dict[str, Any]) -> int:
    """The smallest limit that any of its files names; 512 where none does."""
    limits = [
        _read_json(folder / "sentence_bert_config.json").get("max_seq_length"),
        _read_json(folder / "tokenizer_config.json").get("model_max_length"),
        _positions(config),
    ]
    known = [int(limit) for limit in limits if limit and limit < _UNLIMITED_TOKENS]
    return min(known, default=512)


def _positions(config: dict[str, Any]) -> int | None:
    positions = config.get("max_position_embeddings")
    if positions and "roberta" in str(config.get("model_type")):
        # RoBERTa numbers its positions from the padding id + 1 on.
        return int(positions) - int(config.get("pad_token_id") or 0) - 1
    return int(positions) if positions else None


def _read_json(path: Path, required: bool = False) -> Any:
    if not path.is_file():
        if required:
            raise ModelError(f"{path} is missing: the folder is not a model in a known format")
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
