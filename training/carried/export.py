"""Stage 5, export: trained weights become a folder that the sidecar carries.

`model.onnx` (weights stored in 8 bits), `tokenizer.json`, `contract.json` (what the model promises,
with the digests of the files and pairs to check a runtime against) and `README.md`, the model card.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import BertForSequenceClassification, BertModel

from training.carried.train import pad_pairs, special_tokens
from training.graphs.bert import (
    Shape,
    build_bi_encoder,
    build_cross_encoder,
    dequantized,
    is_stored_in_8_bits,
)

PASSAGE_FORMAT = "{title}\n{text}"


@dataclass(frozen=True, slots=True)
class Promise:
    """The part of a contract that a person or a measurement decides."""

    name: str
    base: str
    licence: str
    max_tokens: int
    max_query_tokens: int
    max_passage_tokens: int
    extra: dict[str, Any] = field(default_factory=dict)


def export_cross_encoder(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    promise: Promise,
    pairs: Sequence[tuple[str, str]],
    card: str,
    folder: Path,
) -> None:
    """Write the folder of a cross-encoder. `pairs` become the golden pairs."""
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    graph = build_cross_encoder(weights, shape_of(model))
    with_stored_weights(model)
    golden = [
        {
            "query": query,
            "passage": passage,
            "score": score_pair(model, tokenizer, promise, query, passage),
        }
        for query, passage in pairs
    ]
    _write(folder, graph, tokenizer, _contract("cross-encoder", promise, golden), card)


def export_bi_encoder(
    model: BertModel,
    tokenizer: Tokenizer,
    promise: Promise,
    pairs: Sequence[tuple[str, str]],
    card: str,
    folder: Path,
) -> None:
    """Write the folder of a bi-encoder. A golden pair's score is the cosine of its two vectors."""
    weights = {name: weight.numpy() for name, weight in model.state_dict().items()}
    graph = build_bi_encoder(weights, shape_of(model))
    with_stored_weights(model)
    golden = []
    for query, passage in pairs:
        vectors = embed(model, tokenizer, promise.max_tokens, [query, passage])
        score = round(float(vectors[0] @ vectors[1]), 6)
        golden.append({"query": query, "passage": passage, "score": score})
    _write(folder, graph, tokenizer, _contract("bi-encoder", promise, golden), card)


def shape_of(model: torch.nn.Module) -> Shape:
    """The sizes that the graph needs, from a BERT's configuration."""
    config: Any = model.config
    return Shape(config.num_hidden_layers, config.num_attention_heads, config.layer_norm_eps)


def with_stored_weights(model: torch.nn.Module) -> None:
    """Put into `model` the weights as they are after storage in 8 bits."""
    for name, weight in model.state_dict().items():
        if is_stored_in_8_bits(name):
            weight.copy_(torch.from_numpy(dequantized(name, weight.numpy())))


@torch.no_grad()
def score_pair(
    model: BertForSequenceClassification,
    tokenizer: Tokenizer,
    promise: Promise,
    query: str,
    passage: str,
) -> float:
    """The logit of one pair in float32, query and passage cut to their budgets."""
    query_ids = tuple(tokenizer.encode(query, add_special_tokens=False).ids)
    passage_ids = tuple(tokenizer.encode(passage, add_special_tokens=False).ids)
    pair = (query_ids[: promise.max_query_tokens], passage_ids[: promise.max_passage_tokens])
    ids, mask, types = pad_pairs([pair], special_tokens(tokenizer))
    logits = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
    return round(float(logits[0, 0]), 6)


@torch.no_grad()
def embed(model: BertModel, tokenizer: Tokenizer, max_tokens: int, texts: Sequence[str]) -> Tensor:
    """(texts, hidden): the mean over the tokens, normalised, in float32, one text at a time."""
    rows = []
    for text in texts:
        ids = tokenizer.encode(text).ids
        cut = ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], ids[-1]]
        states = model(input_ids=torch.tensor([cut])).last_hidden_state  # (1, tokens, hidden)
        rows.append(torch.nn.functional.normalize(states.mean(dim=1)[0], dim=0))
    return torch.stack(rows)


def _contract(kind: str, promise: Promise, golden: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": promise.name,
        "kind": kind,
        "revision": "",
        "base": promise.base,
        "licence": promise.licence,
        "languages": ["en"],
        "max_tokens": promise.max_tokens,
        "max_query_tokens": promise.max_query_tokens,
        "max_passage_tokens": promise.max_passage_tokens,
        "passage_format": PASSAGE_FORMAT,
        **promise.extra,
        "eight_bit_holds": promise.extra.get("eight_bit_holds", False),
        "golden_pairs": golden,
    }


def _write(
    folder: Path, graph: onnx.ModelProto, tokenizer: Tokenizer, contract: dict[str, Any], card: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "README.md").write_text(card, encoding="utf-8")
    names = ("model.onnx", "tokenizer.json")
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    contract["revision"] = f"1-{digests['model.onnx'][:12]}"
    contract["files"] = digests
    text = json.dumps(contract, indent=2, ensure_ascii=False)
    (folder / "contract.json").write_text(text + "\n", encoding="utf-8")
