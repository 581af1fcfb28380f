"""The gate: how often it accepts an equal, and whether it lets a damaged model through.

    python benchmarks/gate.py FOLDER [--queries 300] [--json]      (needs the [train] extra)

FOLDER is a judged set with a train split. The carried reranker reads the candidates of test and
train queries (BM25's best); production and candidates are then

retrained   its head trained anew on its own features: each time other lists, drawn with
            replacement, another order and another beginning. Two of them are equals as two runs of
            the same training are.
noise       its scores with noise, drawn anew for each: equals that differ by chance alone.

200 comparisons of each go through the whole gate, guards included (slices by the words of the
query may lose .02); latency and parity are given as held, for they could only refuse more. Equals
that are accepted are false accepts. 5 % is what p < .05 allows; a candidate has to be better, not
only different, so half of that is expected where nothing but chance differs.

"+.003" and "+.005" are what is accepted where gate.least_gain asks for more than that: two runs of
one training do differ, if by little, and enough queries show it.

Damaged models are that reranker with noise in its weights, without its last layers, asked with a
wrong template, or with a head that was trained on swapped labels or not at all. Each is compared
with the reranker as it was; none may be accepted.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from sidecar.evaluation.baseline import baseline_run
from sidecar.evaluation.beir import JudgedSet, read_corpus, read_judged_set
from sidecar.evaluation.indexing import corpus_analyzer
from sidecar.models.machine import read_machine
from sidecar.types import to_passage
from training.evaluation.evidence import Evidence, Latency, Parity
from training.evaluation.gate import judge
from training.evaluation.queries import MeasuredQuery
from training.evaluation.rules import Rules
from training.evaluation.slices import Slices, slices_of
from training.evaluation.verdict import Verdict
from training.fine_tuning.forward import pair_scores
from training.fine_tuning.opening import Opened, open_base
from training.fine_tuning.reading import PairReader, pad
from training.fine_tuning.scoring import BATCH_TOKENS, batches_of, score_pairs
from training.measures import JudgedRankings, measure_rankings, parse_measure
from training.queries import drawn

MODEL = "pair-minilm-l6"
CANDIDATES = 20
COMPARISONS = 200
GUARD_TOLERANCE = 0.02
LEAST_GAINS = (0.0, 0.003, 0.005)
DRAWS = 2_000
NOISE = 0.3  # standard deviation, in those of the scores
HEADS = 2 * COMPARISONS
STEPS, LISTS_PER_STEP, LEARNING_RATE = 150, 8, 0.02
SAME_SPEED, SAME_SCORES = Latency(20.0, 20.0), Parity(200, 1.0, 0.0)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Lists:
    """Queries with as many candidates each. `gains`: (queries, candidates)."""

    judged: JudgedSet
    query_ids: list[str]
    pairs: list[tuple[str, str]]  # query after query
    gains: Floats
    ideal: Floats  # (queries, judged), the best first

    def values(self, scores: Floats) -> dict[str, float]:
        """nDCG@10 by query of (pairs,) or (queries, candidates) scores; ties as recall had them."""
        order = np.argsort(-scores.reshape(self.gains.shape), axis=1, kind="stable")
        found = np.take_along_axis(self.gains, order, axis=1)
        rankings = JudgedRankings(tuple(self.query_ids), found, self.ideal)
        measured = measure_rankings(parse_measure("nDCG@10"), rankings)
        return dict(zip(self.query_ids, measured.tolist(), strict=True))

    @property
    def slices(self) -> Slices:
        """By the words of the query."""
        texts = self.judged.queries
        return slices_of({q: MeasuredQuery(q, texts[q], 0, "", False) for q in self.query_ids}, 0.2)


def read_lists(folder: Path, split: str, most: int) -> Lists:
    """`most` queries, drawn, that BM25 finds enough candidates for."""
    whole = read_judged_set(folder, split)
    chosen = drawn(list(whole.queries), most, seed=1)
    judged = JudgedSet(
        whole.name,
        {query_id: whole.queries[query_id] for query_id in chosen},
        {query_id: whole.qrels[query_id] for query_id in chosen},
    )
    run = baseline_run(judged, folder, corpus_analyzer(folder), lambda: None)
    kept = [query_id for query_id in chosen if len(run[query_id]) >= CANDIDATES]
    wanted = {doc_id for query_id in kept for doc_id in run[query_id][:CANDIDATES]}
    passages = {
        document.doc_id: to_passage(list(document.fields.values()))
        for _, document in read_corpus(folder)
        if document.doc_id in wanted
    }
    rows = [(query_id, doc_id) for query_id in kept for doc_id in run[query_id][:CANDIDATES]]
    gains = np.array([float(max(0, judged.qrels[q].get(d, 0))) for q, d in rows])
    best = [sorted((max(0, g) for g in judged.qrels[q].values()), reverse=True) for q in kept]
    ideal = np.zeros((len(kept), max(map(len, best))))
    for place, row in enumerate(best):
        ideal[place, : len(row)] = row
    pairs = [(judged.queries[q], passages[d]) for q, d in rows]
    return Lists(judged, kept, pairs, gains.reshape(len(kept), CANDIDATES), ideal)


@torch.no_grad()
def features_of(opened: Opened, lists: Lists) -> tuple[Floats, Floats]:
    """(pairs, width) what the head reads, and (pairs,) what it makes of it."""
    reader, model = PairReader(opened.tokenizer, opened.spec), cast(Any, opened.model)
    encoded = [reader.read(query, passage) for query, passage in lists.pairs]
    seen: list[Floats] = []
    hook = model.classifier.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].double().numpy())
    )
    rows: list[int] = []
    scores: list[Floats] = []
    for places in batches_of([len(each.ids) for each in encoded], BATCH_TOKENS):
        batch = pad([encoded[place] for place in places], opened.tokenizer)
        scores.append(pair_scores(model, batch).double().numpy())
        rows += places
    hook.remove()
    order = np.argsort(rows)
    return np.concatenate(seen)[order], np.concatenate(scores)[order]


def retrained_heads(features: Floats, gains: Floats, count: int, seed: int) -> Floats:
    """(count, width): heads by listwise softmax (Adam), each on lists drawn with replacement."""
    rng = np.random.default_rng(seed)
    lists = features.reshape(*gains.shape, -1)
    telling = np.flatnonzero(gains.sum(axis=1) > 0)
    own = rng.choice(telling, (count, len(telling)))
    heads = rng.normal(0, 0.02, (count, features.shape[1]))
    first, second = np.zeros_like(heads), np.zeros_like(heads)
    for step in range(1, STEPS + 1):
        chosen = np.take_along_axis(
            own, rng.integers(0, own.shape[1], (count, LISTS_PER_STEP)), axis=1
        )
        read = lists[chosen]  # (count, lists, candidates, width)
        logits = np.einsum("hlcw,hw->hlc", read, heads)
        shares = np.exp(logits - logits.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        wanted = gains[chosen] / gains[chosen].sum(axis=2, keepdims=True)
        slope = np.einsum("hlcw,hlc->hw", read, shares - wanted) / LISTS_PER_STEP + 1e-3 * heads
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        rate = LEARNING_RATE * (1 - step / STEPS)
        heads -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return heads


def verdict_of(
    lists: Lists, production: dict[str, float], candidate: dict[str, float], seed: int
) -> Verdict:
    """The whole gate."""
    slices = lists.slices
    rules = Rules(guards=dict.fromkeys(slices, GUARD_TOLERANCE), draws=DRAWS, seed=seed)
    evidence = Evidence("nDCG@10", production, candidate, slices, SAME_SPEED, SAME_SCORES)
    return judge(evidence, rules)


@dataclass(frozen=True)
class Equals:
    """What became of comparisons of equals. `better`: the primary measure alone would accept."""

    kind: str
    queries: int
    comparisons: int
    accepted: int
    better: int
    mean: float
    spread: float  # of the differences
    gains: list[float]  # of those that were accepted


def compare_equals(
    kind: str, lists: Lists, scores: Callable[[int], Floats], most: int | None = None
) -> Equals:
    """Comparison n is of scores(2n) with scores(2n + 1), on `most` queries drawn anew for each."""
    accepted = better = 0
    values, differences, gains = [], [], []
    for number in range(COMPARISONS):
        one, other = (lists.values(scores(2 * number + side)) for side in (0, 1))
        kept = lists
        if most is not None:
            rng = np.random.default_rng(number)
            rows = sorted(rng.choice(len(lists.query_ids), most, replace=False).tolist())
            kept = part_of(lists, rows)
            one, other = ({q: each[q] for q in kept.query_ids} for each in (one, other))
        verdict = verdict_of(kept, one, other, number)
        accepted += verdict.accepted
        gains += [round(verdict.checks[1].figures["difference"], 5)] * verdict.accepted
        better += verdict.checks[1].passed
        values.append(np.mean([*one.values()]))
        differences.append(np.mean([*other.values()]) - values[-1])
    count = most or len(lists.query_ids)
    return Equals(
        kind,
        count,
        COMPARISONS,
        accepted,
        better,
        float(np.mean(values)),
        float(np.std(differences)),
        gains,
    )


def part_of(lists: Lists, rows: list[int]) -> Lists:
    """Some of the queries."""
    pairs = [lists.pairs[row * CANDIDATES + at] for row in rows for at in range(CANDIDATES)]
    ids = [lists.query_ids[row] for row in rows]
    return Lists(lists.judged, ids, pairs, lists.gains[rows], lists.ideal[rows])


@dataclass(frozen=True)
class Damaged:
    """One damaged model: its measure, whether it was accepted, and what refused it."""

    kind: str
    value: float
    accepted: bool
    refused_by: tuple[str, ...]


def damaged_models(
    opened: Opened, lists: Lists, features: Floats, train: Lists, trained_on: Floats
) -> Iterator[tuple[str, Floats]]:
    """(kind, scores) of each."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        yield "random head", features @ rng.normal(0, 1, features.shape[1])
    swapped = retrained_heads(trained_on, train.gains.max() - train.gains, 20, seed=77)
    for head in swapped:
        yield "swapped labels", features @ head
    for share in (0.3, 0.5, 1.0):
        for seed in range(2):
            yield f"noise of {share:g} in the weights", _scored(_noisy(opened, share, seed), lists)
    for kept in (5, 4, 3):
        yield f"{kept} of 6 layers", _scored(_shorter(opened, kept), lists)
    turned = [(passage, query) for query, passage in lists.pairs]
    yield "passage before query", score_pairs(opened, turned)
    prompted = [(f"<Query>: {q}", f"<Document>: {p} <Answer>:") for q, p in lists.pairs]
    yield "another model's template", score_pairs(opened, prompted)
    yield "passages without queries", score_pairs(opened, [("", p) for _, p in lists.pairs])


def _scored(opened: Opened, lists: Lists) -> Floats:
    return score_pairs(opened, lists.pairs)


def _noisy(opened: Opened, share: float, seed: int) -> Opened:
    """Each weight matrix with noise of `share` of its own standard deviation."""
    torch.manual_seed(seed)
    model: Any = copy.deepcopy(opened.model)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.add_(torch.randn_like(weight) * weight.std() * share)
    return Opened(model, opened.tokenizer, opened.spec)


def _shorter(opened: Opened, kept: int) -> Opened:
    """Without its last layers."""
    model: Any = copy.deepcopy(opened.model)
    layers = model.base_model.encoder.layer
    model.base_model.encoder.layer = layers[:kept]
    model.config.num_hidden_layers = kept
    return Opened(model, opened.tokenizer, opened.spec)


def measure(folder: Path, queries: int) -> dict[str, Any]:
    """Everything that the tables show."""
    opened = open_base(MODEL, "cross-encoder")
    lists, train = (read_lists(folder, split, queries) for split in ("test", "train"))
    features, scores = features_of(opened, lists)
    trained_on, _ = features_of(opened, train)
    centre, spread = trained_on.mean(axis=0), trained_on.std(axis=0) + 1e-6
    features, trained_on = ((each - centre) / spread for each in (features, trained_on))
    heads = retrained_heads(trained_on, train.gains, HEADS, seed=1)
    deviation = float(scores.std())

    def noisy(number: int) -> Floats:
        return scores + np.random.default_rng(number).normal(0, NOISE * deviation, len(scores))

    kinds = {"retrained": lambda number: features @ heads[number], "noise": noisy}
    fewer = min(100, len(lists.query_ids) // 2)
    equals = [
        compare_equals(kind, lists, made, most)
        for kind, made in kinds.items()
        for most in (None, fewer)
    ]
    before, damaged = lists.values(scores), []
    for number, (kind, made) in enumerate(
        damaged_models(opened, lists, features, train, trained_on)
    ):
        after = lists.values(made)
        verdict = verdict_of(lists, before, after, number)
        against = tuple(check.name for check in verdict.checks if not check.passed)
        damaged.append(Damaged(kind, float(np.mean([*after.values()])), verdict.accepted, against))
    return {
        "set": lists.judged.name,
        "queries": len(lists.query_ids),
        "slices": {name: len(ids) for name, ids in lists.slices.items()},
        "undamaged": float(np.mean([*before.values()])),
        "equals": [vars(each) for each in equals],
        "damaged": [vars(each) for each in damaged],
    }


def print_tables(told: dict[str, Any]) -> None:
    machine = read_machine()
    print(f"{machine.name}, {machine.threads} threads")
    print(f"search-sidecar {version('search-sidecar')}, torch {version('torch')}")
    guards = ", ".join(f"{name} ({count})" for name, count in told["slices"].items())
    print(f"{told['set']}: {told['queries']} queries, {CANDIDATES} candidates each, {MODEL}")
    print(f"guarded slices, {GUARD_TOLERANCE:g} each: {guards}")
    least = "".join(f"{f'+{gain:g}':>10}" for gain in LEAST_GAINS[1:])
    head = f"{'equals':<12}{'queries':>8}{'nDCG@10':>9}{'spread':>9}{'p alone':>10}{'accepted':>10}"
    print(f"\n{head}{least}")
    for row in told["equals"]:
        shares = [row["better"], *(sum(g > gain for g in row["gains"]) for gain in LEAST_GAINS)]
        told_shares = "".join(f"{share / row['comparisons']:>10.1%}" for share in shares)
        print(
            f"{row['kind']:<12}{row['queries']:>8}{row['mean']:>9.4f}{row['spread']:>9.4f}"
            f"{told_shares}"
        )
    print(f"\n{'damaged':<30}{'models':>7}{'nDCG@10':>18}{'accepted':>10}  refused by")
    print(f"{'(as it was)':<30}{'':>7}{told['undamaged']:>18.4f}")
    for kind in dict.fromkeys(row["kind"] for row in told["damaged"]):
        rows = [row for row in told["damaged"] if row["kind"] == kind]
        low, high = min(row["value"] for row in rows), max(row["value"] for row in rows)
        between = f"{low:.4f}" if len(rows) == 1 else f"{low:.4f} to {high:.4f}"
        by_all = set.intersection(*(set(row["refused_by"]) for row in rows))
        accepted = sum(row["accepted"] for row in rows)
        told_by = "primary" + (f", guards: {len(by_all) - 1}" if len(by_all) > 1 else "")
        print(f"{kind:<30}{len(rows):>7}{between:>18}{accepted:>10}  {told_by}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--queries", type=int, default=300, help="drawn of each split (300)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    told = measure(arguments.folder, arguments.queries)
    if arguments.json:
        print(json.dumps(told, indent=1))
    else:
        print_tables(told)


if __name__ == "__main__":
    main()
