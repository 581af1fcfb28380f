"""A carried cross-encoder's graph built anew around its stored weights, bit for bit.

When `onnx_graph` learns to write the same model better, no training has to be repeated: the scores
stay what they were but for rounding, and the golden pairs of the contract are checked with the new
file before it takes the place of the old one.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from tokenizers import Tokenizer

from training.graphs.bert import Shape, build_cross_encoder
from training.graphs.transformers_format import read_weights

HEADS = 12
GOLDEN_TOLERANCE = 1e-4


def rebuild_cross_encoder(folder: Path, heads: int = HEADS) -> None:
    """Replace `model.onnx` of a carried folder, and its digests and revision in `contract.json`.

    Raises ValueError, and leaves the folder as it was, if the golden pairs score otherwise.
    """
    contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
    content = rebuilt(folder / "model.onnx", heads).SerializeToString(deterministic=True)
    apart = _apart_on_golden_pairs(content, folder, contract)
    if not apart <= GOLDEN_TOLERANCE:
        raise ValueError(f"{folder}: the rebuilt graph moves a golden pair by {apart:.2g}")
    (folder / "model.onnx").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    contract["revision"] = f"1-{digest[:12]}"
    contract["files"]["model.onnx"] = digest
    text = json.dumps(contract, indent=2, ensure_ascii=False)
    (folder / "contract.json").write_text(text + "\n", encoding="utf-8")


def rebuilt(file: Path, heads: int) -> onnx.ModelProto:
    """The graph as it is built now, with the weights of an earlier one. Raises ValueError."""
    old = {weight.name: weight for weight in onnx.load(str(file)).graph.initializer}
    weights = read_weights(file)
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layer.")}
    epsilon = _epsilon(file)
    graph = build_cross_encoder(weights, Shape(len(layers), heads, epsilon))
    for weight in graph.graph.initializer:
        if weight.name.endswith((".int8", ".scale", ".weight", ".bias")):
            if old[weight.name].dims != weight.dims:
                raise ValueError(f"{file}: {weight.name} has another shape")
            weight.CopyFrom(old[weight.name])
    return graph


def _epsilon(file: Path) -> float:
    for node in onnx.load(str(file)).graph.node:
        if node.op_type == "LayerNormalization":
            found = {a.name: a for a in node.attribute}
            return float(found["epsilon"].f)
    raise ValueError(f"{file}: no LayerNormalization")


def _apart_on_golden_pairs(content: bytes, folder: Path, contract: dict[str, Any]) -> float:
    """The largest difference from the contract's golden scores, in float32."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    apart: list[float] = []
    for golden in contract["golden_pairs"]:
        encoding = tokenizer.encode(golden["query"], golden["passage"])
        inputs = {
            "input_ids": np.array([encoding.ids], np.int64),
            "attention_mask": np.array([encoding.attention_mask], np.int64),
            "token_type_ids": np.array([encoding.type_ids], np.int64),
        }
        apart.append(abs(float(session.run(None, inputs)[0][0, 0]) - golden["score"]))
    return max(apart)
