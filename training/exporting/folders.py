"""The folders that serve: onnx/ for the CPU path, transformers/ for vLLM and for everybody else.

onnx/          model.onnx, tokenizer.json, config.json (training goes on from it, not
               from one with a prefix), README.md
transformers/  model.safetensors, config.json, tokenizer files, README.md; a bi-encoder's also as
               sentence-transformers reads it (modules, prompts), a cross-encoder's with the
               activation Identity, since a sigmoid over logits above 5 makes ties

Both get a card (card.py) and, last, their contract.json (contract_file.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from sidecar.models.contract import ModelContract
from sidecar.models.vllm.folder import ServedFolder
from training.fine_tuning.adapters import has_prefix
from training.fine_tuning.quiet import quiet_libraries
from training.graphs.sentence_transformers_format import write_modules
from training.graphs.transformers_format import name_tokenizer_for_every_version
from training.models.spec import ModelSpec

_IDENTITY = "torch.nn.modules.linear.Identity"


def write_onnx(
    graph: onnx.ModelProto,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
) -> None:
    """All but card and contract. Equal weights give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    if not has_prefix(model):
        _write_config(model, folder)


def write_transformers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    spec: ModelSpec,
    folder: Path,
) -> None:
    """All but card and contract. A decoder is written in bfloat16, as its kind is served; its
    weights are rounded to that from then on."""
    folder.mkdir(parents=True, exist_ok=True)
    state = _rounded(model) if is_decoder(model) else model.state_dict()
    with quiet_libraries():
        model.save_pretrained(folder, state_dict=state)
    _write_config(model, folder, spec)
    tokenizer.save_pretrained(folder)
    name_tokenizer_for_every_version(folder / "tokenizer_config.json")
    if spec.kind == "bi-encoder":
        write_modules(
            folder,
            dimensions=model.config.hidden_size,
            pooling=spec.pooling,
            normalize=spec.normalize,
            max_tokens=spec.max_tokens,
            query_prefix=spec.query_prefix,
            passage_prefix=spec.passage_prefix,
        )


def is_decoder(model: PreTrainedModel) -> bool:
    """Whether vLLM alone serves it."""
    plain = model.get_base_model() if has_prefix(model) else model
    placeholder = ModelContract("", "cross-encoder", "")
    return ServedFolder(Path(), placeholder, type(plain).__name__).is_decoder


def _rounded(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The state in bfloat16. The weights, not the buffers, are rounded to it in the model, too."""
    state: dict[str, torch.Tensor] = model.state_dict()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.bfloat16())
    return {name: weight.bfloat16() for name, weight in state.items()}


def _write_config(model: PreTrainedModel, folder: Path, spec: ModelSpec | None = None) -> None:
    """config.json without the place that the model was read from."""
    config: dict[str, Any] = model.config.to_dict()
    config.pop("_name_or_path", None)
    config["architectures"] = [type(model).__name__]
    config["dtype"] = "bfloat16" if is_decoder(model) else "float32"
    if spec is not None and spec.kind == "cross-encoder":
        config["sentence_transformers"] = {"activation_fn": _IDENTITY}
    text = json.dumps(config, indent=2, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
