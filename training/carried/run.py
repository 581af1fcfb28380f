"""The stages in order, each reading what the one before wrote under the work folder.

collect -> mine -> train -> evaluate -> export. A stage whose output is there is not run again, so a
run that was cut short goes on where it stopped; delete the file, or the folder, to run it anew.
"""

import dataclasses
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import BertModel

from sidecar.config import BiEncoderConfig, RuntimeConfig
from sidecar.evaluation.beir import read_judged_set
from sidecar.models.base import BiEncoder
from sidecar.models.load import load_bi_encoder
from sidecar.types import Document
from training.carried.collect import (
    TRAINABLE_SETS,
    SourceDocument,
    collect,
    read_documents,
    thin_python,
    write_documents,
)
from training.carried.evaluate import (
    ChosenWeight,
    Rerankers,
    ScoredList,
    choose_first,
    choose_second,
    judged_pairs,
    score_candidates,
)
from training.carried.export import Promise, export_bi_encoder, export_cross_encoder
from training.carried.lists import Texts, judged_lists, made_lists, split_judged
from training.carried.mine import mine, read_lists, write_lists
from training.carried.network import TwoHeads, start_from, to_classifier
from training.carried.places import Places
from training.carried.queries import MiningQuery, queries_over_documents, queries_over_passages
from training.carried.recipe import Recipe
from training.carried.text import join_passage
from training.carried.train import TokenizedList, special_tokens, train
from training.carried.vocabulary import choose_pieces, cut_tokenizer, open_tokenizer
from training.exporting.calibration import fit_platt
from training.exporting.golden import PAIRS

BI_ENCODER, FIRST, SECOND = "all-minilm-l6-v2", "pair-minilm-l3", "pair-minilm-l6"
PASSAGES = "passages"
_BASE = "sentence-transformers/all-MiniLM-L6-v2"
_LICENCE = "Apache-2.0"
_CARDS = Path(__file__).parent / "cards"

Say = Callable[[str], None]


def run(places: Places, recipe: Recipe, seed: int, say: Say = print) -> None:
    """All stages."""
    places.work.mkdir(parents=True, exist_ok=True)
    for name, stage, made in (
        ("collect", run_collect, places.pieces),
        ("mine", run_mine, places.lists(PASSAGES)),
        ("train", run_train, places.network),
        ("evaluate", run_evaluate, places.weights),
        ("export", run_export, None),
    ):
        if made is not None and made.exists():
            say(f"{name}: {made} is there")
        else:
            say(f"{name} ...")
            stage(places, recipe, seed, say)


def run_collect(places: Places, recipe: Recipe, seed: int, say: Say) -> None:
    """Documents, the bi-encoder's folder (to mine with), and the cross-encoders' vocabulary."""
    documents = collect(places.data)
    texts = (join_passage(document.title, document.text) for document in documents)
    pieces = choose_pieces(places.base / "tokenizer.json", texts, recipe.vocabulary_size)
    kept = thin_python(
        documents, recipe.python_documents, recipe.python_documents_per_package, seed
    )
    write_documents(kept, places.documents)
    _export_bi_encoder(places)
    places.pieces.write_text(json.dumps(pieces))
    say(f"{len(kept)} documents, {len(pieces)} word pieces")


def run_mine(places: Places, recipe: Recipe, seed: int, say: Say) -> None:
    """Judged and made queries over the sets, made queries over short passages of everything."""
    bi_encoder, documents = _bi_encoder(places), read_documents(places.documents)
    for name in TRAINABLE_SETS:
        own = [document for document in documents if document.source == name]
        queries = _judged_queries(places, name)
        queries += queries_over_documents(own, recipe.made[name], random.Random(seed))
        stored = [Document(one.doc_id, {"title": one.title, "text": one.text}) for one in own]
        lists = mine(name, stored, queries, recipe.candidates, places.work, bi_encoder)
        write_lists(lists, places.lists(name))
        say(f"{name}: {len(queries)} queries over {len(own)} documents")
    passages, queries = queries_over_passages(documents, recipe.queries, random.Random(seed))
    stored = [Document(one.passage_id, {"title": "", "text": one.text}) for one in passages]
    lists = mine(PASSAGES, stored, queries, recipe.candidates, places.work, bi_encoder)
    write_lists(lists, places.lists(PASSAGES))
    say(f"{PASSAGES}: {len(queries)} queries over {len(passages)}")


def run_train(places: Places, recipe: Recipe, seed: int, say: Say) -> None:
    """Distils over short passages, then refines with whole documents and with the judgments."""
    sources = build_sources(places, recipe, seed)
    network = start_from(places.base, json.loads(places.pieces.read_text()), recipe.layers)
    tokens = special_tokens(_tokenizer(places))
    network = train(network, sources[:1], tokens, recipe.distil, seed, _watch("distil", say))
    network = train(network, sources, tokens, recipe.refine, seed + 1, _watch("refine", say))
    torch.save(network.state_dict(), places.network)


def run_evaluate(places: Places, recipe: Recipe, seed: int, say: Say) -> None:
    """The weights of both stages, the second's after the first's, on queries held out."""
    network, tokenizer = _trained(places, recipe), _tokenizer(places)
    rerankers = Rerankers(
        to_classifier(network, early=True), to_classifier(network, early=False), recipe.budgets
    )
    documents, sets = read_documents(places.documents), {}
    for name in TRAINABLE_SETS:
        texts = _texts(documents, name)
        _, held = split_judged(read_lists(places.lists(name)), recipe.held_share, seed)
        sets[name] = [
            score_candidates(rerankers, one, texts, tokenizer, recipe.first_depth) for one in held
        ]
    first = choose_first(sets, recipe.first_depth)
    second = choose_second(sets, first.weight, recipe.first_depth, recipe.second_depth)
    for name, choice in ((FIRST, first), (SECOND, second)):
        say(f"{name}: weight {choice.weight}, {_told(choice)}")
    chosen = {
        name: {
            "weight": choice.weight,
            "calibration": _calibration(sets, name == SECOND, recipe.second_depth),
        }
        for name, choice in ((FIRST, first), (SECOND, second))
    }
    places.weights.write_text(json.dumps(chosen))


def _calibration(
    sets: Mapping[str, Sequence[ScoredList]], of_last: bool, depth: int
) -> dict[str, Any] | None:
    """Of a model's logits over the heads of the held-out lists of all sets, as its contract says
    it; None where they say nothing: one kind of candidate only, or scores against relevance."""
    logits: list[float] = []
    relevant: list[bool] = []
    for lists in sets.values():
        found = judged_pairs(lists, of_last, depth)
        logits += found[0]
        relevant += found[1]
    try:
        return dataclasses.asdict(fit_platt(logits, relevant))
    except ValueError:
        return None


def run_export(places: Places, recipe: Recipe, seed: int, say: Say) -> None:
    """The folders of the two cross-encoders; the bi-encoder's is there since `collect`."""
    network, weights = _trained(places, recipe), json.loads(places.weights.read_text())
    for name, early, depth in (
        (FIRST, True, recipe.first_depth),
        (SECOND, False, recipe.second_depth),
    ):
        promise = Promise(
            name=name,
            base=_BASE,
            licence=_LICENCE,
            max_tokens=recipe.budgets.query + recipe.budgets.passage + 3,
            max_query_tokens=recipe.budgets.query,
            max_passage_tokens=recipe.budgets.passage,
            extra={"activation": "none", "depth": depth, **weights[name]},
        )
        model = to_classifier(network, early)
        export_cross_encoder(
            model, _tokenizer(places), promise, PAIRS, _card(name), places.out / name
        )
        say(f"{places.out / name}")


def build_sources(places: Places, recipe: Recipe, seed: int) -> list[list[TokenizedList]]:
    """Made queries over short passages; over the documents of each set; judged ones of each set."""
    rng, tokenizer = random.Random(seed), _tokenizer(places)
    documents = read_documents(places.documents)
    passages, _ = queries_over_passages(documents, recipe.queries, random.Random(seed))
    short = {one.passage_id: one.text for one in passages}
    mined = read_lists(places.lists(PASSAGES))
    size = recipe.list_size
    sources = [made_lists(mined, short, tokenizer, size, recipe.passage_tokens, rng)]
    judged = []
    for name in TRAINABLE_SETS:
        texts, mined = _texts(documents, name), read_lists(places.lists(name))
        longest = recipe.document_tokens[name]
        sources.append(made_lists(mined, texts, tokenizer, size, longest, rng))
        training, _ = split_judged(mined, recipe.held_share, seed)
        rounds = recipe.judged_rounds[name]
        judged.append(judged_lists(training, texts, tokenizer, size, longest, rounds, rng))
    return sources + judged


def _judged_queries(places: Places, name: str) -> list[MiningQuery]:
    judged = read_judged_set(places.data / name, "train")
    return [
        MiningQuery(query_id, text, "judged", judged.qrels[query_id])
        for query_id, text in judged.queries.items()
    ]


def _tokenizer(places: Places) -> Tokenizer:
    """The cross-encoders': the base's, cut to the pieces that `collect` chose."""
    return cut_tokenizer(places.base / "tokenizer.json", json.loads(places.pieces.read_text()))


def _trained(places: Places, recipe: Recipe) -> TwoHeads:
    network = start_from(places.base, json.loads(places.pieces.read_text()), recipe.layers)
    network.load_state_dict(torch.load(places.network, weights_only=True))
    network.eval()
    return network


def _texts(documents: Sequence[SourceDocument], name: str) -> Texts:
    return {
        one.doc_id: join_passage(one.title, one.text) for one in documents if one.source == name
    }


def _export_bi_encoder(places: Places) -> None:
    model = BertModel.from_pretrained(places.base, add_pooling_layer=False).eval()
    promise = Promise(
        name=BI_ENCODER,
        base=_BASE,
        licence=_LICENCE,
        max_tokens=256,
        max_query_tokens=64,
        max_passage_tokens=256,
        extra={
            "pooling": "mean",
            "normalize": True,
            "dimensions": model.config.hidden_size,
            "query_prefix": "",
            "passage_prefix": "",
        },
    )
    tokenizer = open_tokenizer(places.base / "tokenizer.json")
    export_bi_encoder(model, tokenizer, promise, PAIRS, _card(BI_ENCODER), places.out / BI_ENCODER)


def _bi_encoder(places: Places) -> BiEncoder:
    """The exported one, run as the sidecar runs it."""
    settings = BiEncoderConfig(model=str(places.out / BI_ENCODER))
    bi_encoder = load_bi_encoder(settings, RuntimeConfig(), places.work)
    if bi_encoder is None:
        raise ValueError(f"{places.out / BI_ENCODER} is not a bi-encoder")
    return bi_encoder


def _card(name: str) -> str:
    """The model card, written by hand beside the code."""
    return (_CARDS / f"{name}.md").read_text(encoding="utf-8")


def _told(choice: ChosenWeight) -> str:
    return ", ".join(
        f"{name} {before:.4f} -> {after:.4f}" for name, (before, after) in choice.figures.items()
    )


def _watch(stage: str, say: Say) -> Callable[[int, float, TwoHeads], None]:
    losses: list[float] = []

    def watch(step: int, loss: float, average: TwoHeads) -> None:
        losses.append(loss)
        if step % 50 == 49:
            say(f"{stage}: step {step + 1}, loss {sum(losses) / len(losses):.4f}")
            losses.clear()

    return watch
