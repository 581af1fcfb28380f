"""Adds negatives to what is labelled: train and dev lists, and the passages of their documents.

label's lists -> recall of each query (kept as it comes) -> `Miner` -> lists.jsonl, passages.jsonl
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.clicks.store import read_clicks
from training.config import BI_ENCODER, GRADED_LOSSES, RERANKER, TrainingConfig
from training.examples.places import there
from training.labels.expected_grades import ExpectedGrades, read_expected_grades
from training.lists import (
    Split,
    TrainingList,
    read_lists,
    write_lists,
    write_passages,
)
from training.mining.known import KnownRelevance
from training.mining.lists import Miner, passages_of
from training.mining.passages import Passages
from training.mining.recall import Recall
from training.mining.recall_choice import open_recall
from training.mining.rows import Rows
from training.models.production import PRODUCTION_KEYS
from training.progress import in_words
from training.queries import drawn, read_queries
from training.run_files import (
    CLICKS_FILE,
    CORPUS_FILE,
    EXPECTED_GRADES_FILE,
    INDEXES,
    LISTS_FILE,
    PASSAGES_FILE,
    QUERIES_FILE,
)
from training.serving.client import RecallHit
from training.stage import Stage, Work

QUERIES_KEPT_TOGETHER = 64  # recalled anew by a run that was cut short


def run(work: Work) -> Mapping[str, Any]:
    """Figures: which recall, lists and those left out, negatives by kind, what was dropped."""
    mine = work.config.fine_tune(work.model).mine
    labelled = [one for one in read_lists(_labels(work)) if one.split is not Split.TEST]
    able = [one for one in labelled if one.positives]
    asked = drawn(able, mine.most_queries, work.config.seed)
    kept = work.root / INDEXES
    with open_recall(
        work.config, work.model, work.inputs, kept, work.scratch, work.progress.live
    ) as opened:
        work.progress.say(f"negatives come from {opened.about}")
        rows = Rows(work.scratch / "recalled.jsonl")
        recall_all(opened.recall, asked, mine.depth, rows, work)
        passages = Passages(work.input("collect") / CORPUS_FILE, opened.client)
        miner = Miner(
            mine,
            work.config.seed,
            known_of(work),
            passages,
            ranks_all_documents=work.model == BI_ENCODER,
            expected_grades=expected_grades_of(work.input("label")),
            expects_gains=expects_gains(work.config, work.model),
        )
        write_lists(mined(miner, asked, rows, work), work.out / LISTS_FILE)
    lists = read_lists(work.out / LISTS_FILE)
    write_passages(passages_of(lists, miner.used), work.out / PASSAGES_FILE)
    miner.counts["without_positive"] = len(labelled) - len(able)
    counts = {"documents": len(passages.doc_ids), **dict(sorted(miner.counts.items()))}
    return {"recall": opened.about, "depth": mine.depth, **counts}


def expects_gains(config: TrainingConfig, model: str) -> bool:
    """Whether its loss takes the gain of every candidate, which may then be what is expected of it;
    pairs would make a negative of a document that nobody looked at."""
    return model == RERANKER and config.fine_tune(model).loss in GRADED_LOSSES


def expected_grades_of(label: Path) -> ExpectedGrades | None:
    """None where there is no log."""
    path = label / EXPECTED_GRADES_FILE
    return read_expected_grades(path) if path.exists() else None


def known_of(work: Work) -> KnownRelevance:
    """All that labels and clicks say is relevant, of every split."""
    known = KnownRelevance()
    known.add_labels(read_lists(_labels(work)))
    clicks = work.input("collect") / CLICKS_FILE
    if clicks.exists():
        queries = read_queries(work.input("collect") / QUERIES_FILE)
        known.add_clicks(read_clicks(clicks), {each.query_id: each.query for each in queries})
    return known


def recall_all(
    recall: Recall, lists: Sequence[TrainingList], depth: int, rows: Rows, work: Work
) -> None:
    """One row a list, in their order, after those that are there already."""
    began, before = time.monotonic(), rows.count
    for start in range(before, len(lists), QUERIES_KEPT_TOGETHER):
        part = lists[start : start + QUERIES_KEPT_TOGETHER]
        found = recall.recall([one.query for one in part], depth)
        rows.append(to_row(one, each) for one, each in zip(part, found, strict=True))
        speed = (rows.count - before) / max(time.monotonic() - began, 1e-9)
        left = f"{(len(lists) - rows.count) / speed:.0f} s"
        done = f"{rows.count} of {len(lists)}"
        work.progress.live(in_words(recalled=done, queries_a_second=round(speed, 1), left=left))


def mined(
    miner: Miner, lists: Sequence[TrainingList], rows: Rows, work: Work
) -> Iterator[TrainingList]:
    """The lists that something can be learnt from."""
    for number, (one, row) in enumerate(zip(lists, rows, strict=True), start=1):
        made = miner.make(one, from_row(one, row))
        if made is not None:
            yield made
        work.progress.live(in_words(mined=f"{number} of {len(lists)}"))


def to_row(one: TrainingList, recalled: Sequence[RecallHit]) -> Any:
    """As kept until the stage is done; ranks follow from the order."""
    return [one.query_id, [(r.doc_id, r.score, r.lexical, r.dense) for r in recalled]]


def from_row(one: TrainingList, row: Any) -> list[RecallHit]:
    """What `to_row` was given."""
    query_id, recalled = row
    assert query_id == one.query_id, "rows of another run: remove the stage's folder"
    return [
        RecallHit(doc_id, rank, score, lexical, dense)
        for rank, (doc_id, score, lexical, dense) in enumerate(recalled, start=1)
    ]


def _labels(work: Work) -> Path:
    return work.input("label") / LISTS_FILE


def _reads(config: TrainingConfig, model: str) -> tuple[Path, ...]:
    return there(config.fine_tune(model).base) + there(config.sidecar.configuration)


# The reranker comes second: its negatives are those of the bi-encoder that will serve.
STAGE = Stage(
    "mine",
    "adds hard negatives from the sidecar's recall",
    run,
    sections=(
        "sidecar",
        "{model}.mine",
        "{model}.loss",
        "{model}.base",
        "{model}.role",
        *PRODUCTION_KEYS,
    ),
    needs=("collect", "label", "bi_encoder/export", "bi_encoder/gate"),
    reads=_reads,
)
