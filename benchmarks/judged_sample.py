"""A judged set small enough for what is done with it: queries are drawn, and documents with them.

What is written is a folder in BEIR layout with the splits train and test. Documents are those that
the drawn queries have judgments of, and others drawn at random up to a number: what is relevant is
all there, and there is enough that is not. Measures over a part of the documents are higher than
over all of them, so figures are compared with one another, not with those of the whole set.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.demo.library import read_library
from sidecar.evaluation.beir import JudgedSet, read_jsonl, read_judged_set
from training.queries import normalised
from training.synthetic.base import MadeQuery
from training.synthetic.over_documents import queries_over

TRAIN_QUERIES, TEST_QUERIES = 1500, 1000  # made where all are asked for
Qrels = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was drawn; `folder` is in BEIR layout. Numbers are (drawn, there are)."""

    folder: Path
    name: str
    train: JudgedSet
    test: JudgedSet
    documents: tuple[int, int]
    train_queries: tuple[int, int]
    test_queries: tuple[int, int]
    synthetic: bool = False

    @property
    def corpus(self) -> Path:
        """A file that holds the documents and no judgment."""
        return self.folder / "corpus.jsonl"

    def __str__(self) -> str:
        """How it was sampled."""
        of = {
            "documents": self.documents,
            "train queries": self.train_queries,
            "test queries": self.test_queries,
        }
        told = ", ".join(f"{drawn:,} of {there:,} {what}" for what, (drawn, there) in of.items())
        if self.synthetic:
            return f"{self.name}: {told}; queries are SYNTHETIC, made from the documents by rules"
        return f"{self.name}: {told}, drawn at random, all their judged documents kept"


def sample_set(folder: Path, out: Path, train: int, test: int, documents: int, seed: int) -> Sample:
    """At most `train` and `test` queries of a judged set (0: all), and about `documents`."""
    source = random.Random(seed)
    splits = {name: read_judged_set(folder, name) for name in ("train", "test")}
    drawn = {
        name: _drawn(splits[name], count, source)
        for name, count in (("train", train), ("test", test))
    }
    rows = [row for _, row in read_jsonl(folder / "corpus.jsonl")]
    kept = _with_others(rows, [part.qrels for part in drawn.values()], documents, source)
    _write(out, kept, drawn)
    return Sample(
        out,
        folder.resolve().name,
        drawn["train"],
        drawn["test"],
        (len(kept), len(rows)),
        (len(drawn["train"].queries), len(splits["train"].queries)),
        (len(drawn["test"].queries), len(splits["test"].queries)),
    )


def demo_set(out: Path, train: int, test: int, documents: int, seed: int) -> Sample:
    """The demo's collection, the documentation of Python's standard library, with queries that are
    made from it: SYNTHETIC, and said to be."""
    source = random.Random(seed)
    rows = [
        {"_id": each.doc_id, "title": each.fields["title"], "text": each.fields["text"]}
        for each in read_library()
    ]
    kept = source.sample(rows, min(documents or len(rows), len(rows)))
    drawn = {
        name: JudgedSet(
            "python",
            {one.query_id: one.text for one in made},
            {one.query_id: dict(one.relevances) for one in made},
        )
        for name, made in _made_queries(kept, train, test, seed).items()
    }
    _write(out, kept, drawn, synthetic=True)
    counts = {name: len(judged.queries) for name, judged in drawn.items()}
    return Sample(
        out,
        "the documentation of Python's standard library",
        drawn["train"],
        drawn["test"],
        (len(kept), len(rows)),
        (counts["train"],) * 2,
        (counts["test"],) * 2,
        synthetic=True,
    )


def _made_queries(
    rows: Sequence[Mapping[str, str]], train: int, test: int, seed: int
) -> dict[str, list[MadeQuery]]:
    """No text is in both splits."""
    tests = queries_over(rows, test or TEST_QUERIES, seed, "test")
    kept = {normalised(one.text) for one in tests}
    trains = queries_over(rows, train or TRAIN_QUERIES, seed, "train")
    return {
        "train": [one for one in trains if normalised(one.text) not in kept],
        "test": tests,
    }


def _drawn(judged: JudgedSet, count: int, source: random.Random) -> JudgedSet:
    """Of the queries that have something relevant."""
    able = [q for q in judged.queries if max(judged.qrels[q].values()) > 0]
    chosen = sorted(source.sample(able, min(count or len(able), len(able))))
    return JudgedSet(
        judged.name,
        {query_id: judged.queries[query_id] for query_id in chosen},
        {query_id: judged.qrels[query_id] for query_id in chosen},
    )


def _with_others(
    rows: list[dict[str, Any]], qrels: Iterable[Qrels], count: int, source: random.Random
) -> list[dict[str, Any]]:
    judged = {doc_id for one in qrels for grades in one.values() for doc_id in grades}
    others = [row["_id"] for row in rows if row["_id"] not in judged]
    room = max(0, count - len(judged)) if count else len(others)
    kept = judged | set(source.sample(others, min(room, len(others))))
    return [row for row in rows if row["_id"] in kept]


def _write(
    out: Path,
    rows: Iterable[Mapping[str, Any]],
    drawn: Mapping[str, JudgedSet],
    synthetic: bool = False,
) -> None:
    (out / "qrels").mkdir(parents=True)
    _write_lines(
        out / "corpus.jsonl", ({key: row[key] for key in ("_id", "title", "text")} for row in rows)
    )
    _write_lines(
        out / "queries.jsonl",
        (
            {"_id": query_id, "text": text} | ({"synthetic": True} if synthetic else {})
            for judged in drawn.values()
            for query_id, text in judged.queries.items()
        ),
    )
    for name, judged in drawn.items():
        lines = ["query-id\tcorpus-id\tscore"]
        for query_id, grades in judged.qrels.items():
            lines += [f"{query_id}\t{doc_id}\t{grade}" for doc_id, grade in grades.items()]
        (out / "qrels" / f"{name}.tsv").write_text("\n".join(lines) + "\n")


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
