"""Any exported graph's large weights stored in 8 bits, and read back under the model's names.

As graphs/bert.py does for BERT: an int8 tensor with a scale a block, behind a DequantizeLinear that
a runtime folds into a float weight when it loads. Which of a graph's initialisers is which weight
of the model is found by their values, since exporters transpose, rename and share them; the graph's
metadata keeps it, so that training can go on from the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from training.graphs.bert import BLOCK, Array, dither_of, quantize_blocks

WEIGHTS_KEY = "search-sidecar.weights"
LEAST_SIZE = 8192  # smaller weights stay as they are
_INT8, _SCALE, _SHAPE = ".int8", ".scale", ".shape"

State = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class _Place:
    """The initialiser that holds a weight of the model, and whether transposed."""

    initializer: str
    transposed: bool


def store(graph: onnx.ModelProto, state: State) -> dict[str, Array]:
    """Stores the large matrices of a graph in 8 bits, in place; these as they are now, by name.
    Rounded with dither: they have been trained.

    `state`: all weights of the model. Raises ValueError for one that is nowhere in the graph: it
    would be lost.
    """
    places = _places(graph, state)
    rows = {node.input[0] for node in graph.graph.node if node.op_type == "Gather"}
    stored: dict[_Place, Array] = {}
    nodes: list[onnx.NodeProto] = []
    for name, weight in state.items():
        place = places[name]
        if weight.ndim == 2 and weight.size >= LEAST_SIZE and place not in stored:
            block = weight.shape[1] if place.initializer in rows else _block(weight.shape[1])
            made, stored[place] = _store_one(graph, weight, place, block)
            nodes += made
    _put_first(graph, nodes)
    told = {name: [place.initializer, place.transposed] for name, place in places.items()}
    helper.set_model_props(graph, {WEIGHTS_KEY: json.dumps(told, sort_keys=True)})
    onnx.checker.check_model(graph)
    return {name: stored[place] for name, place in places.items() if place in stored}


def read_state(graph: onnx.ModelProto) -> dict[str, Array]:
    """The weights of a graph that `store` wrote, by the model's names; empty for another graph."""
    told = next((each.value for each in graph.metadata_props if each.key == WEIGHTS_KEY), "{}")
    held = {each.name: numpy_helper.to_array(each) for each in graph.graph.initializer}
    state = {}
    for name, (initializer, transposed) in json.loads(told).items():
        if f"{initializer}{_INT8}" in held:  # stored as the model has it
            blocks, scale = held[f"{initializer}{_INT8}"], held[f"{initializer}{_SCALE}"]
            state[name] = _restored(blocks, scale).reshape(held[f"{initializer}{_SHAPE}"])
        else:
            state[name] = held[initializer].T if transposed else held[initializer]
    return state


def _places(graph: onnx.ModelProto, state: State) -> dict[str, _Place]:
    by_digest: dict[str, str] = {}
    for each in graph.graph.initializer:
        by_digest.setdefault(_digest(numpy_helper.to_array(each)), each.name)
    places = {}
    for name, weight in state.items():
        found = by_digest.get(_digest(weight))
        turned = by_digest.get(_digest(weight.T)) if found is None else None
        if found is None and turned is None:
            raise ValueError(f"the graph does not hold the weight {name} {weight.shape}")
        places[name] = _Place(found or turned or "", found is None)
    return places


def _store_one(
    graph: onnx.ModelProto, weight: Array, place: _Place, block: int
) -> tuple[list[onnx.NodeProto], Array]:
    """The nodes that give what the initialiser gave, and the weight that comes of it."""
    name = place.initializer
    blocks, scale = quantize_blocks(weight, block, dither_of(name))
    parts = {
        f"{name}{_INT8}": blocks,
        f"{name}{_SCALE}": scale,
        f"{name}{_SHAPE}": np.asarray(weight.shape, np.int64),
    }
    _remove(graph, name)
    graph.graph.initializer.extend(numpy_helper.from_array(each, at) for at, each in parts.items())
    dequantized, whole = f"{name}.blocks", f"{name}.whole" if place.transposed else name
    nodes = [
        helper.make_node(
            "DequantizeLinear", list(parts)[:2], [dequantized], name=dequantized, axis=0
        ),
        helper.make_node("Reshape", [dequantized, f"{name}{_SHAPE}"], [whole], name=whole),
    ]
    if place.transposed:
        nodes.append(helper.make_node("Transpose", [whole], [name], name=name, perm=(1, 0)))
    return nodes, _restored(blocks, scale).reshape(weight.shape)


def _restored(blocks: npt.NDArray[np.int8], scale: Array) -> Array:
    restored: Array = blocks.astype(np.float32) * scale[:, None]
    return restored


def _block(columns: int) -> int:
    """The largest number of columns up to BLOCK that divides them."""
    return next(size for size in range(min(BLOCK, columns), 0, -1) if columns % size == 0)


def _remove(graph: onnx.ModelProto, name: str) -> None:
    at = next(at for at, each in enumerate(graph.graph.initializer) if each.name == name)
    del graph.graph.initializer[at]


def _put_first(graph: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> None:
    """Before all others: a node comes after those whose outputs it reads."""
    others = list(graph.graph.node)
    del graph.graph.node[:]
    graph.graph.node.extend([*nodes, *others])


def _digest(values: Array) -> str:
    told = hashlib.sha256(repr((values.shape, str(values.dtype))).encode())
    told.update(np.ascontiguousarray(values).tobytes())
    return told.hexdigest()
