"""`sidecar evaluate DIR`: nDCG@10, RR@10 and R@100 of every stage over a judged set."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sidecar.commands.places import cache_folder
from sidecar.config import Config
from sidecar.config_file import load_config
from sidecar.errors import InputFileError
from sidecar.evaluation.baseline import baseline_run
from sidecar.evaluation.beir import JudgedSet, read_judged_set
from sidecar.evaluation.evaluate import (
    STAGES,
    StageRuns,
    evaluation_config,
    run_queries,
    stage_name,
    to_report,
)
from sidecar.evaluation.indexing import corpus_analyzer, open_corpus
from sidecar.evaluation.measures import MEASURES, mean_measures
from sidecar.evaluation.trec import write_run
from sidecar.pipeline.assembly import assemble
from sidecar.recall.analyzers import analyzer_names
from sidecar.recall.catalog import Catalog
from sidecar.types import StageState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("set", metavar="DIR", type=Path, help="a judged set in BEIR layout")
    parser.add_argument("--split", default="test", help="qrels/SPLIT.tsv (test)")
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N queries")
    parser.add_argument("--runs", metavar="DIR", type=Path, help="write a TREC run file a stage")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--analyzer", choices=("auto", *analyzer_names()), default="auto")
    parser.add_argument(
        "--baseline", action="store_true", help="also BM25 by rank-bm25, over the whole corpus"
    )
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="keep the index there, and use the one kept there"
    )
    parser.add_argument("--config", metavar="FILE", type=Path, help="configuration in TOML")


def run(arguments: argparse.Namespace) -> int:
    """Evaluates and prints; 1 if a stage failed for any query."""
    started = time.monotonic()
    config = evaluation_config(load_config(arguments.config))
    judged = read_judged_set(arguments.set, arguments.split, arguments.limit)
    analyzer = arguments.analyzer
    if analyzer == "auto":
        analyzer = corpus_analyzer(arguments.set)
    runs, documents = _run_stages(judged, arguments, analyzer, config)
    report = to_report(judged, runs)
    if arguments.baseline:
        report["baseline"] = {"rank_bm25": _baseline(judged, arguments.set, analyzer)}
    report |= {"split": arguments.split, "analyzer": analyzer, "documents": documents}
    report["seconds"] = round(time.monotonic() - started, 1)
    if arguments.runs:
        _write_runs(arguments.runs, runs)
    print(json.dumps(report) if arguments.json else "\n".join(_table(report)))
    return 1 if runs.failed() else 0


def _run_stages(
    judged: JudgedSet, arguments: argparse.Namespace, analyzer: str, config: Config
) -> tuple[StageRuns, int]:
    """The rankings of every stage, and the number of documents searched."""
    with contextlib.ExitStack() as stack:
        data_dir = arguments.data or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # Calibration belongs to the machine, so it is not thrown away with a temporary index.
        assembled = assemble(config, arguments.data or cache_folder(), stack)
        catalog = stack.enter_context(
            contextlib.closing(Catalog.open(data_dir, assembled.bi_encoder, config))
        )
        with _bar("indexing", None, "doc") as bar:
            collection = open_corpus(catalog, arguments.set, analyzer, bar.update)
        with _bar("searching", len(judged.queries), "query") as bar:
            runs = asyncio.run(
                run_queries(
                    judged, collection, assembled.serving.lineup.production.search, bar.update
                )
            )
        return runs, collection.stats().document_count


def _bar(what: str, total: int | None, unit: str) -> tqdm[Any]:
    return tqdm(total=total, desc=what, unit=unit, disable=not sys.stderr.isatty(), leave=False)


def _baseline(judged: JudgedSet, folder: Path, analyzer: str) -> dict[str, float]:
    with _bar("baseline", len(judged.queries), "query") as bar:
        ranked = baseline_run(judged, folder, analyzer, bar.update)
    return {name: round(v, 5) for name, v in mean_measures(ranked, judged.qrels).items()}


def _write_runs(folder: Path, runs: StageRuns) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputFileError(str(folder), None, f"cannot be made: {error.strerror}") from error
    for stage in STAGES:
        write_run(folder / f"{stage_name(stage)}.trec", runs.rankings[stage], stage_name(stage))


def _table(report: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{report['set']}: {report['queries']} queries ({report['split']}), "
        f"{report['documents']} documents, {report['analyzer']} analyzer"
    )
    yield f"{'stage':<14}" + "".join(f"{name:>10}" for name in MEASURES)
    for name, figures in {**report["stages"], **report.get("baseline", {})}.items():
        yield f"{name:<14}" + "".join(f"{figures[measure]:>10.4f}" for measure in MEASURES)
    for entry in report["not_run"]:
        reason = f"{entry['state'].lower()} ({entry['reason'].lower().replace('_', ' ')})"
        counted = _counted_as(entry["stage"], entry["state"])
        yield f"{entry['stage']}: {reason} for {entry['queries']} queries{counted}"


def _counted_as(stage: str, state: str) -> str:
    if state == StageState.PARTIAL.name:
        return ", counted as far as it came"
    if stage in ("lexical", "dense"):
        return ", counted as an empty ranking"
    return ", counted with the ranking of the stage before"
