"""A BERT encoder as an ONNX graph, its large weights stored in 8 bits.

Only storage is in 8 bits: each large weight is an int8 tensor with a scale per block of a row,
behind a DequantizeLinear that a runtime folds into a float weight when it loads. Activations stay
float. The node patterns are those of exported BERT models, which runtimes know how to fuse. The
builder has no randomness and no timestamps: equal weights give equal bytes.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]

OPSET = 17
BLOCK = 128
_MASKED = -10000.0
_ON_A_STEP = 1e-4  # of a step: the error of float32
_PRODUCER = "search-sidecar training"


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a BERT encoder that its weights do not tell."""

    layers: int
    heads: int
    layer_norm_epsilon: float = 1e-12


@dataclass(slots=True)
class Graph:
    """Nodes and weights as they are added; every method returns the name of its output."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, operation: str, *inputs: str, output: str, **attributes: object) -> str:
        """One node with one output."""
        made = helper.make_node(operation, inputs, [output], name=output, **attributes)
        self.nodes.append(made)
        return output

    def constant(self, name: str, values: npt.ArrayLike, kind: npt.DTypeLike) -> str:
        """A small weight, stored as it is."""
        self.weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def stored(self, name: str, weight: Array) -> str:
        """A large weight (rows, columns), stored as int8 with a scale per row and block."""
        whole, scale = quantize(name, weight)
        self.weights.append(numpy_helper.from_array(whole, f"{name}.int8"))
        self.weights.append(numpy_helper.from_array(scale, f"{name}.scale"))
        inputs = (f"{name}.int8", f"{name}.scale")
        blocks = self.node("DequantizeLinear", *inputs, output=f"{name}.blocks", axis=0)
        shape = self.constant(f"{name}.shape", weight.shape, np.int64)
        return self.node("Reshape", blocks, shape, output=name)


def quantize(
    name: str, weight: Array, dither: np.random.Generator | None = None
) -> tuple[npt.NDArray[np.int8], Array]:
    """A (rows, columns) weight as (int8 (rows x blocks, block), float32 scale (rows x blocks,)).

    Symmetric: weight is about int8 x scale. A block is `BLOCK` neighbouring columns of one row, so
    an outlier coarsens only its own block: one scale a row would triple the vectors' error. Rows of
    an embedding have one scale, they bear it.
    """
    return quantize_blocks(weight, weight.shape[1] if "embeddings" in name else BLOCK, dither)


def quantize_blocks(
    weight: Array, block: int, dither: np.random.Generator | None = None
) -> tuple[npt.NDArray[np.int8], Array]:
    """The same with blocks of `block` neighbouring columns, of which there is a whole number.

    Rounded to the nearest; with `dither` up or down by chance, as near as each is, so that what is
    small against a step is kept in the mean. Training moves a weight by a small part of a step: of
    one that was stored in 8 bits before, the nearest would be what it was (Gupta et al., "Deep
    Learning with Limited Numerical Precision", ICML 2015).
    """
    blocks = weight.reshape(-1, block)
    scale = (np.maximum(np.abs(blocks).max(axis=1), 1e-12) / 127).astype(np.float32)
    steps = blocks / scale[:, None]
    whole = np.rint(steps)
    if dither is not None:
        between = np.abs(steps - whole) > _ON_A_STEP
        whole = np.where(between, np.floor(steps + dither.random(steps.shape)), whole)
    return np.clip(whole, -127, 127).astype(np.int8), scale


def dither_of(name: str) -> np.random.Generator:
    """The same for the same weight's name: equal weights give equal bytes."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def dequantized(name: str, weight: Array, dither: np.random.Generator | None = None) -> Array:
    """The weight that a runtime sees once stored in 8 bits."""
    whole, scale = quantize(name, weight, dither)
    restored: Array = (whole.astype(np.float32) * scale[:, None]).reshape(weight.shape)
    return restored


def is_stored_in_8_bits(name: str) -> bool:
    """Whether the weight of that name (as in a BERT's state) is stored in 8 bits."""
    embeddings = ("word_embeddings.weight", "position_embeddings.weight")
    linear = ("dense.weight", "query.weight", "key.weight", "value.weight", "classifier.weight")
    return name.endswith((*embeddings, *linear))


def build_cross_encoder(weights: Weights, shape: Shape) -> onnx.ModelProto:
    """`logits` (pairs, 1) from the names of BertForSequenceClassification's state."""
    graph = Graph()
    bare = {_bare(name): weight for name, weight in weights.items()}
    states = _encoder(graph, bare, shape, first_token_only=True)  # (pairs, 1, hidden)
    squeezed = graph.constant("token_axis", [1], np.int64)
    first = graph.node("Squeeze", states, squeezed, output="first_token")
    pooled = graph.node(
        "Tanh", _linear(graph, weights, "bert.pooler.dense", first), output="pooled"
    )
    _linear(graph, weights, "classifier", pooled, output="logits")
    return _model(
        graph,
        "cross-encoder",
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1]),
    )


def build_bi_encoder(weights: Weights, shape: Shape) -> onnx.ModelProto:
    """`sentence_embedding` (texts, hidden): mean over the tokens, normalised; from BertModel's."""
    graph = Graph()
    states = _encoder(graph, weights, shape)
    hidden = weights["embeddings.word_embeddings.weight"].shape[1]
    last_axis = graph.constant("last_axis", [-1], np.int64)
    token_axis = graph.constant("token_axis", [1], np.int64)
    column = graph.node("Unsqueeze", "mask_float", last_axis, output="mask_column")
    kept = graph.node("Mul", states, column, output="kept_states")
    summed = graph.node("ReduceSum", kept, token_axis, output="state_sum", keepdims=0)
    counted = graph.node("ReduceSum", column, token_axis, output="token_count", keepdims=0)
    mean = graph.node("Div", summed, counted, output="mean_state")
    squares = graph.node("Mul", mean, mean, output="squares")
    total = graph.node("ReduceSum", squares, last_axis, output="square_sum", keepdims=1)
    length = graph.node("Sqrt", total, output="length")
    floor = graph.constant("shortest_length", 1e-12, np.float32)
    safe = graph.node("Max", length, floor, output="safe_length")
    graph.node("Div", mean, safe, output="sentence_embedding")
    return _model(
        graph,
        "bi-encoder",
        helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", hidden]),
    )


def _bare(name: str) -> str:
    return name.removeprefix("bert.")


def _encoder(graph: Graph, weights: Weights, shape: Shape, first_token_only: bool = False) -> str:
    """The last layer's states (batch, tokens, hidden).

    `first_token_only`: those of the first token alone (batch, 1, hidden), for heads that read no
    other. The last layer then computes keys and values for every token and the rest for one, which
    changes nothing but the work: a sixth less in six layers.
    """
    hidden = weights["embeddings.word_embeddings.weight"].shape[1]
    graph.constant("head_shape", [0, 0, shape.heads, hidden // shape.heads], np.int64)
    graph.constant("state_shape", [0, 0, hidden], np.int64)
    graph.constant("score_divisor", np.sqrt(hidden / shape.heads), np.float32)
    graph.constant("half", 0.5, np.float32)
    graph.constant("one", 1.0, np.float32)
    graph.constant("root_two", np.sqrt(2.0), np.float32)
    bias = _attention_bias(graph)
    states = _embeddings(graph, weights, shape)
    for number in range(shape.layers):
        read = states
        if first_token_only and number == shape.layers - 1:
            first = graph.constant("first", [0], np.int64)
            read = graph.node("Gather", states, first, output="first_state", axis=1)
        states = _layer(graph, weights, f"encoder.layer.{number}", read, states, bias, shape)
    return states


def _attention_bias(graph: Graph) -> str:
    """(batch, 1, 1, tokens): 0 for a token, a large negative number for padding."""
    axes = graph.constant("bias_axes", [1, 2], np.int64)
    masked = graph.constant("masked", _MASKED, np.float32)
    graph.node("Cast", "attention_mask", output="mask_float", to=TensorProto.FLOAT)
    rows = graph.node("Unsqueeze", "mask_float", axes, output="mask_rows")
    padding = graph.node("Sub", "one", rows, output="padding")
    return graph.node("Mul", padding, masked, output="attention_bias")


def _embeddings(graph: Graph, weights: Weights, shape: Shape) -> str:
    zero = graph.constant("zero", 0, np.int64)
    step = graph.constant("step", 1, np.int64)
    size = graph.node("Shape", "input_ids", output="ids_shape")
    length = graph.node("Gather", size, step, output="tokens_length", axis=0)
    positions = graph.node("Range", zero, length, step, output="positions")
    parts = []
    for name, rows in (
        ("word_embeddings", "input_ids"),
        ("token_type_embeddings", "token_type_ids"),
        ("position_embeddings", positions),
    ):
        full = f"embeddings.{name}.weight"
        if is_stored_in_8_bits(full):
            table = graph.stored(full, weights[full])
        else:
            table = graph.constant(full, weights[full], np.float32)
        parts.append(graph.node("Gather", table, rows, output=f"embeddings.{name}", axis=0))
    typed = graph.node("Add", parts[0], parts[1], output="embeddings.typed")
    placed = graph.node("Add", typed, parts[2], output="embeddings.placed")
    return _normalized(graph, weights, "embeddings.LayerNorm", placed, shape)


def _layer(
    graph: Graph, weights: Weights, name: str, read: str, states: str, bias: str, shape: Shape
) -> str:
    """One layer for the tokens `read`, each of which looks at all `states`."""
    attended = _attention(graph, weights, f"{name}.attention", read, states, bias)
    mixed = _linear(graph, weights, f"{name}.attention.output.dense", attended)
    added = graph.node("Add", mixed, read, output=f"{name}.attention.residual")
    middle = _normalized(graph, weights, f"{name}.attention.output.LayerNorm", added, shape)
    wide = _gelu(graph, _linear(graph, weights, f"{name}.intermediate.dense", middle))
    narrow = _linear(graph, weights, f"{name}.output.dense", wide)
    total = graph.node("Add", narrow, middle, output=f"{name}.residual")
    return _normalized(graph, weights, f"{name}.output.LayerNorm", total, shape)


def _attention(graph: Graph, weights: Weights, name: str, read: str, states: str, bias: str) -> str:
    turned = {}
    for part, order in (("query", (0, 2, 1, 3)), ("key", (0, 2, 3, 1)), ("value", (0, 2, 1, 3))):
        source = read if part == "query" else states
        flat = _linear(graph, weights, f"{name}.self.{part}", source)
        split = graph.node("Reshape", flat, "head_shape", output=f"{flat}.heads")
        turned[part] = graph.node("Transpose", split, output=f"{flat}.turned", perm=order)
    raw = graph.node("MatMul", turned["query"], turned["key"], output=f"{name}.products")
    scaled = graph.node("Div", raw, "score_divisor", output=f"{name}.scaled")
    masked = graph.node("Add", scaled, bias, output=f"{name}.masked")
    share = graph.node("Softmax", masked, output=f"{name}.shares", axis=-1)
    mixed = graph.node("MatMul", share, turned["value"], output=f"{name}.mixed")
    back = graph.node("Transpose", mixed, output=f"{name}.back", perm=(0, 2, 1, 3))
    return graph.node("Reshape", back, "state_shape", output=f"{name}.context")


def _gelu(graph: Graph, states: str) -> str:
    """x / 2 * (1 + erf(x / sqrt 2)), in the pattern that runtimes fuse."""
    shrunk = graph.node("Div", states, "root_two", output=f"{states}.shrunk")
    erf = graph.node("Erf", shrunk, output=f"{states}.erf")
    shifted = graph.node("Add", erf, "one", output=f"{states}.shifted")
    product = graph.node("Mul", states, shifted, output=f"{states}.product")
    return graph.node("Mul", product, "half", output=f"{states}.gelu")


def _normalized(graph: Graph, weights: Weights, name: str, states: str, shape: Shape) -> str:
    scale = graph.constant(f"{name}.weight", weights[f"{name}.weight"], np.float32)
    shift = graph.constant(f"{name}.bias", weights[f"{name}.bias"], np.float32)
    return graph.node(
        "LayerNormalization",
        states,
        scale,
        shift,
        output=f"{name}.output",
        axis=-1,
        epsilon=shape.layer_norm_epsilon,
    )


def _linear(graph: Graph, weights: Weights, name: str, states: str, output: str = "") -> str:
    """x W + b; `weights` hold W as torch does, (out, in)."""
    weight = graph.stored(f"{name}.weight", weights[f"{name}.weight"])
    turned = graph.node("Transpose", weight, output=f"{name}.turned", perm=(1, 0))
    bias = graph.constant(f"{name}.bias", weights[f"{name}.bias"], np.float32)
    product = graph.node("MatMul", states, turned, output=f"{name}.product")
    return graph.node("Add", product, bias, output=output or f"{name}.sum")


def _model(graph: Graph, name: str, output: onnx.ValueInfoProto) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(input_name, TensorProto.INT64, ["batch", "tokens"])
        for input_name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    body = helper.make_graph(graph.nodes, name, inputs, [output], graph.weights)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(body, opset_imports=opsets, producer_name=_PRODUCER, ir_version=8)
    onnx.checker.check_model(model)
    return model
