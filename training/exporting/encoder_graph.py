"""A trained encoder -> one ONNX graph, its large weights stored in 8 bits.

BERT has a graph of its own (graphs/bert.py: fewer nodes, the last layer for one token, pooling
inside); other encoders, and those with a prefix, are traced by torch.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn
from transformers import PreTrainedModel

from training.graphs.bert import (
    BLOCK,
    Array,
    Shape,
    build_bi_encoder,
    build_cross_encoder,
    dequantized,
    dither_of,
    is_stored_in_8_bits,
)
from training.graphs.stored_weights import store
from training.models.spec import ModelSpec

OPSET = 17
Stored = dict[str, Array]  # the weights that the storage changed, by name


def build_graph(
    model: PreTrainedModel, spec: ModelSpec, input_names: list[str]
) -> tuple[onnx.ModelProto, Stored]:
    """The graph, and the weights as they are after storage.

    Output: logits (pairs, 1) or, of a bi-encoder, states (texts, tokens, dim) or vectors
    (texts, dim). `input_names` as the tokenizer says (model_input_names).
    """
    state = {name: weight.detach().cpu().numpy() for name, weight in model.state_dict().items()}
    if is_plain_bert(model, spec):
        return _bert(model, spec, state)
    graph = traced(model, spec, input_names)
    weights = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return graph, store(graph, {name: state[name] for name in state if name in weights})


def is_plain_bert(model: PreTrainedModel, spec: ModelSpec) -> bool:
    """Whether graphs/bert.py builds its graph."""
    config = model.config
    return (
        type(model).__name__ in ("BertModel", "BertForSequenceClassification")
        and config.hidden_act == "gelu"
        and config.hidden_size % BLOCK == 0
        and config.intermediate_size % BLOCK == 0
        and (spec.kind == "cross-encoder" or spec.pooling == "mean")
    )


def with_stored(model: PreTrainedModel, stored: Stored) -> PreTrainedModel:
    """The same model with the weights of `stored` in place of its own; changed in place."""
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            if name in stored:
                weight.copy_(torch.from_numpy(stored[name]))
    return model


def traced(model: PreTrainedModel, spec: ModelSpec, input_names: list[str]) -> onnx.ModelProto:
    """The graph with float weights, with dynamic batch and tokens."""
    output = "logits" if spec.kind == "cross-encoder" else "last_hidden_state"
    # "eager" attention exports as the plain MatMul, Softmax, MatMul that runtimes fuse themselves.
    model.set_attn_implementation("eager")
    inputs = _sample(len(input_names))
    axes = {0: "batch", 1: "tokens"}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        # Of its age, and of every size that it takes for constant: what came out is compared.
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            _OneOutput(model, input_names, output).eval(),
            inputs,
            str(path),
            input_names=input_names,
            output_names=[output],
            dynamic_axes={**dict.fromkeys(input_names, axes), output: axes},
            opset_version=OPSET,
            do_constant_folding=False,  # weights stay as the model has them; runtimes fold
            dynamo=False,
        )
        return onnx.load(str(path))


class _OneOutput(nn.Module):
    """The model with arguments by place and one output."""

    def __init__(self, model: PreTrainedModel, input_names: list[str], output: str) -> None:
        super().__init__()
        self.model = model
        self._input_names = input_names
        self._output = output

    def forward(self, *arrays: Any) -> Any:
        return self.model(**dict(zip(self._input_names, arrays, strict=True)))[self._output]


def _sample(inputs: int) -> tuple[torch.Tensor, ...]:
    """Ids, (types,) mask: two texts of unlike length."""
    ids = torch.arange(4, 20).reshape(2, 8)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    return (ids, mask) if inputs == 2 else (ids, torch.zeros_like(ids), mask)


def _bert(
    model: PreTrainedModel, spec: ModelSpec, state: dict[str, Array]
) -> tuple[onnx.ModelProto, Stored]:
    config = model.config
    shape = Shape(config.num_hidden_layers, config.num_attention_heads, config.layer_norm_eps)
    build = build_cross_encoder if spec.kind == "cross-encoder" else build_bi_encoder
    names = [name for name in state if is_stored_in_8_bits(name)]
    # What was trained is not lost between two steps of 8 bits: on a step, it is stored as it is.
    rounded = {name: dequantized(name, state[name], dither_of(name)) for name in names}
    stored = {name: dequantized(name, weight) for name, weight in rounded.items()}
    return build(state | rounded, shape), stored
