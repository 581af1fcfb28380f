"""How large a model is, read from its folder without loading it, and what training it takes."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import ModelError
from training.config import FineTuneConfig

ADAMW_BYTES = 16  # a trained parameter in fp32: weight, gradient, two moments
FROZEN_BYTES = {"lora": 4.0, "prefix": 4.0, "qlora": 0.55}  # a parameter that is not trained
CHECKPOINT_BYTES = 12  # weight and moments
DEFAULT_TOKENS = 512
_CARRIED_HEADS = 12


@dataclass(frozen=True, slots=True)
class ModelSize:
    """What memory depends on."""

    parameters: int
    layers: int
    hidden: int
    heads: int


def read_size(folder: Path) -> ModelSize:
    """Of a folder with config.json and safetensors, or with the ONNX graph of a carried model.
    Raises ModelError."""
    files = sorted(folder.glob("*.safetensors"))
    if files and (folder / "config.json").is_file():
        return _of_transformers(folder, files)
    if (folder / "model.onnx").is_file():
        return _of_graph(folder / "model.onnx")
    raise ModelError(f"{folder} holds neither *.safetensors with config.json nor model.onnx")


def trained_parameters(size: ModelSize, config: FineTuneConfig) -> int:
    """By the method; of adapters about: those of all linear layers of a BERT."""
    if config.method == "prefix":
        return config.prefix_tokens * 2 * size.layers * size.hidden
    if config.method in ("lora", "qlora"):
        rows_and_columns = 18 * size.hidden  # 4 of h x h (8 h), h x 4h and 4h x h (10 h)
        return config.lora_rank * rows_and_columns * size.layers
    return size.parameters


def weights_bytes(size: ModelSize, config: FineTuneConfig) -> float:
    """Weights, gradients and moments."""
    trained = trained_parameters(size, config)
    frozen = 0.0 if config.method == "full" else FROZEN_BYTES[config.method] * size.parameters
    return ADAMW_BYTES * trained + frozen


def activation_bytes(size: ModelSize, config: FineTuneConfig) -> float:
    """Of one chunk of tokens: a layer keeps 34 h + 5 a s values of 16 bits for each token, twice
    that in fp32 (Korthikanti et al., "Reducing Activation Recomputation in Large Transformer
    Models", 2022, equation 1); with checkpointing its input alone, and one layer whole."""
    tokens = (config.query_tokens + config.passage_tokens) or DEFAULT_TOKENS
    width = 2.0 if config.precision in ("bf16", "fp16") else 4.0
    layer = (34 * size.hidden + 5 * size.heads * tokens) * width / 2
    if config.checkpointing:
        return config.chunk_tokens * (size.layers * size.hidden * width + layer)
    return config.chunk_tokens * size.layers * layer


def checkpoint_bytes(size: ModelSize, config: FineTuneConfig) -> float:
    """On disk at the most: checkpoints, the best one, and the model in three formats."""
    kept = config.checkpoints + 1
    return CHECKPOINT_BYTES * trained_parameters(size, config) * kept + 9.0 * size.parameters


def _of_transformers(folder: Path, files: list[Path]) -> ModelSize:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        parameters = sum(_elements(file) for file in files)
        return ModelSize(
            parameters,
            int(config["num_hidden_layers"]),
            int(config["hidden_size"]),
            int(config["num_attention_heads"]),
        )
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise ModelError(f"{folder}: its size cannot be read: {error}") from error


def _elements(file: Path) -> int:
    """Of all tensors: 8 bytes of length, then a JSON header (the format of safetensors)."""
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header: dict[str, Any] = json.loads(opened.read(length))
    tensors = (each for name, each in header.items() if name != "__metadata__")
    return sum(math.prod(each["shape"]) for each in tensors)


def _of_graph(path: Path) -> ModelSize:
    """Of a graph whose weights have the names of a BERT's, in 8 bits or not."""
    try:
        import onnx  # of the [train] extra
    except ImportError:
        raise ModelError(f"{path}: its size is read with onnx, which is not installed") from None

    weights = {one.name: tuple(one.dims) for one in onnx.load(str(path)).graph.initializer}
    norms = [dims[0] for name, dims in weights.items() if name.endswith("LayerNorm.weight")]
    names = [name.split(".") for name in weights if ".layer." in f".{name}"]
    layers = {parts[parts.index("layer") + 1] for parts in names if "layer" in parts}
    if not norms or not layers:
        raise ModelError(f"{path}: no BERT that training knows")
    kept = (d for name, d in weights.items() if not name.endswith((".scale", ".shape")))
    return ModelSize(sum(map(math.prod, kept)), len(layers), norms[0], _CARRIED_HEADS)
