"""Reads what users did and what people judged, filters it, and splits the queries.

Leaves queries.jsonl, judgments.jsonl, corpus.jsonl, clicks.npz if there is a log, refused.jsonl
(file, line and reason of each row that was refused) and report.json (what was left out, and why).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.errors import ConfigurationError
from training.clicks.filters import Filters
from training.clicks.joining import compact, with_queries
from training.clicks.log import ClickLog
from training.clicks.reading import read_logs, told_of
from training.clicks.store import write_clicks
from training.config import CollectConfig, TrainingConfig
from training.examples.documents import DocumentFile, add_rows, corpus_path
from training.examples.formats import read_labelled
from training.examples.gathering import (
    Gatherer,
    Kept,
    Sources,
    Written,
    accepted,
    known,
    write_documents,
)
from training.examples.judgments import Label, to_judgments, write_judgments
from training.examples.places import place_of
from training.examples.query_book import QueryBook
from training.examples.refusals import Refusals
from training.examples.report import Collected, to_report
from training.queries import write_queries
from training.run_files import (
    CLICKS_FILE,
    CORPUS_FILE,
    JUDGMENTS_FILE,
    QUERIES_FILE,
    REFUSED_FILE,
    REPORT_FILE,
    write_json,
)
from training.serving.client import SidecarClient
from training.stage import Stage, Work


def run(work: Work) -> Mapping[str, Any]:
    """Figures: impressions, queries, judgments, documents, rows refused, impressions left out."""
    config = work.config.collect
    left_out: Counter[str] = Counter()
    with (
        Refusals(work.out / REFUSED_FILE) as refusals,
        DocumentFile(work.out / CORPUS_FILE) as documents,
    ):
        work.progress.live("reading the log")
        log = _read_log(work, refusals, left_out)
        work.progress.live("reading labelled examples")
        sources = _read_sources(config, refusals)
        book = _queries_of(log, sources, work)
        work.progress.live("reading documents")
        written = write_documents(sources, documents, refusals)
        labels, scales = _gather(sources, documents, written, book, refusals, config)
        log = None if log is None else with_queries(log, [*map(book.id_of, log.query_names)])
        asked = _ask_for_missing(log, labels, documents, work)
        kept = known(labels, documents, refusals)
        _check_enough(kept, log, work)
        shown = _count_shown(log, documents)
    if log is not None:
        write_clicks(log, work.out / CLICKS_FILE)
    judgments, agreement = to_judgments(kept.labels)
    write_judgments(judgments, work.out / JUDGMENTS_FILE)
    queries = list(book.queries())
    write_queries(queries, work.out / QUERIES_FILE)
    collected = Collected(
        queries,
        judgments,
        agreement,
        scales,
        kept.dropped,
        len(documents),
        written.added,
        asked,
        *shown,
    )
    report = to_report(collected, refusals, told_of(log, left_out) if log is not None else None)
    write_json(work.out / REPORT_FILE, report)
    for sentence in report["words"]:
        work.progress.say(sentence)
    return {
        "impressions": log.impressions if log is not None else 0,
        "queries": len(queries),
        "judgments": len(judgments),
        "documents": len(documents),
        "refused": sum(refusals.rows.values()),
        "left_out": sum(left_out.values()),
    }


def filters_of(config: CollectConfig) -> Filters:
    """Those that the configuration asks for."""
    return Filters(
        drop_personal=config.drop_personal,
        most_impressions_a_minute=config.most_impressions_a_minute,
        most_clicks_share=config.most_clicks_share,
        most_query_characters=config.most_query_characters,
    )


def _read_log(work: Work, refusals: Refusals, left_out: Counter[str]) -> ClickLog | None:
    config = work.config.collect
    paths = [Path(given) for given in config.feedback if given]
    log = read_logs(paths, work.config.sidecar.collection, refusals.refusing, left_out)
    return None if log is None else compact(filters_of(config).apply(log, left_out))


def _read_sources(config: CollectConfig, refusals: Refusals) -> Sources:
    why_not = filters_of(config).why_not
    labelled = [
        accepted(read_labelled(place_of(given), refusals), why_not, refusals)
        for given in config.judgments
        if given
    ]
    return Sources(tuple(labelled), corpus_path(config.corpus) if config.corpus else None)


def _queries_of(log: ClickLog | None, sources: Sources, work: Work) -> QueryBook:
    config = work.config.collect
    book = QueryBook(work.config.seed, config.dev_share, config.test_share)
    if log is not None:
        counts = np.bincount(log.queries, minlength=len(log.query_names)).tolist()
        for name, count in zip(log.query_names, counts, strict=True):
            book.add(name, count, config.synthetic)
    for labelled in sources.labelled:
        for example in labelled.examples:
            book.add(example.query, 0, config.synthetic or example.synthetic)
    return book


def _gather(
    sources: Sources,
    documents: DocumentFile,
    written: Written,
    book: QueryBook,
    refusals: Refusals,
    config: CollectConfig,
) -> tuple[list[Label], dict[str, str]]:
    """(labels of all files, the scale of each)."""
    scales: dict[str, str] = {}
    gatherer = Gatherer(
        documents,
        book,
        refusals,
        written.elsewhere,
        scales,
        config.grade_names,
        config.synthetic,
    )
    return [label for one in sources.labelled for label in gatherer.labels(one)], scales


def _ask_for_missing(
    log: ClickLog | None, labels: Sequence[Label], documents: DocumentFile, work: Work
) -> int:
    """Documents of the log and of labels that no file has: from the sidecar, if there is one."""
    shown = log.document_names if log is not None else ()
    wanted = dict.fromkeys((*shown, *(label.doc_id for label in labels)))
    missing = [doc_id for doc_id in wanted if doc_id not in documents]
    sidecar = work.config.sidecar
    if not missing or not sidecar.address:
        return 0
    work.progress.live(f"asking {sidecar.address} for {len(missing)} documents")
    with SidecarClient(sidecar.address, sidecar.collection, sidecar.timeout_seconds) as client:
        return add_rows(documents, client.documents(missing))


def _check_enough(kept: Kept, log: ClickLog | None, work: Work) -> None:
    """Raises ConfigurationError where too many judged pairs have no document, or nothing is left
    to learn from."""
    few = kept.dropped <= work.config.collect.most_lost_share * kept.pairs
    if not kept.dropped or (few and (kept.labels or log is not None)):
        return
    asked = ", nor has the sidecar" if work.config.sidecar.address else ""
    raise ConfigurationError(
        f"{kept.dropped} of {kept.pairs} judged pairs name documents that no corpus has{asked}, "
        f"the first in {kept.first}; {work.out / REFUSED_FILE} lists all. Give collect.corpus the "
        "documents that were judged, or sidecar.address and sidecar.collection that hold them; "
        "collect.most_lost_share = 1.0 goes on with the others"
    )


def _count_shown(log: ClickLog | None, documents: DocumentFile) -> tuple[int, int]:
    """(documents of the log, those of them that are not known)."""
    if log is None:
        return 0, 0
    unknown = sum(name not in documents for name in log.document_names)
    return len(log.document_names), unknown


def _reads(config: TrainingConfig, model: str) -> list[Path]:
    """Raises ConfigurationError where nothing would be learnt from."""
    collect = config.collect
    reads = [place_of(given).path for given in collect.judgments if given]
    reads += [each for given in collect.feedback if given for each in _rolled(Path(given))]
    if not reads:
        raise ConfigurationError(
            "nothing to learn from: name collect.feedback (the sidecar's log), collect.judgments "
            "(labelled examples), or both"
        )
    return reads + ([Path(collect.corpus)] if collect.corpus else [])


def _rolled(path: Path) -> list[Path]:
    """What is read of a feedback log: its database changes with every search, what was rolled
    does not."""
    rolled = [path / kind for kind in ("impressions", "events")]
    return [each for each in rolled if each.is_dir()] or [path]


STAGE = Stage(
    "collect",
    "reads logs and labelled examples, filters, splits",
    run,
    sections=("collect", "sidecar"),
    reads=_reads,
)
