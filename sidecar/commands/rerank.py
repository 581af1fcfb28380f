"""`sidecar rerank QUERY --candidates FILE`: reranks a list, printing each stage as it arrives."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from sidecar.commands.connection import connect
from sidecar.commands.search import (
    DEFAULT_ADDRESS,
    add_ranking_arguments,
    print_ranking,
    ranking_options,
)
from sidecar.commands.stage_view import StageView
from sidecar.commands.terminal import Terminal
from sidecar.errors import InputFileError
from sidecar.evaluation.beir import read_jsonl, text_of
from sidecar.v1 import rerank_pb2, rerank_pb2_grpc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("query", metavar="QUERY", help="what is searched for")
    parser.add_argument(
        "--candidates",
        metavar="FILE",
        type=Path,
        required=True,
        help='JSONL: "_id", "title", "text" and, for all or for none, "score"',
    )
    parser.add_argument("--on", metavar="ADDRESS", default=DEFAULT_ADDRESS, help="HOST:PORT")
    parser.add_argument(
        "--lexical-signal", action="store_true", help="fuse the list's order with BM25 over it"
    )
    add_ranking_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reranks and prints."""
    candidates = read_candidates(arguments.candidates)
    titles = {c.doc_id: c.title or c.text for c in candidates}
    view = StageView(Terminal.of(sys.stdout), arguments.top, arguments.explain, titles)
    rerank = rerank_pb2.RerankRequest(
        query=arguments.query,
        candidates=candidates,
        options=ranking_options(arguments),
        lexical_signal=arguments.lexical_signal,
    )
    request = rerank_pb2.RerankStreamRequest(rerank=rerank)
    with connect(arguments.on) as channel:
        stub = rerank_pb2_grpc.RerankServiceStub(channel)
        for response in stub.RerankStream(request, timeout=arguments.timeout):
            print_ranking(view, response.ranking)
    return 0


def read_candidates(path: Path) -> list[rerank_pb2.Candidate]:
    """The candidates of a JSONL file, in its order."""
    return [_candidate(path, line, record) for line, record in read_jsonl(path)]


def _candidate(path: Path, line: int, record: dict[str, Any]) -> rerank_pb2.Candidate:
    candidate = rerank_pb2.Candidate(
        doc_id=text_of(record, "_id", path, line, required=True),
        title=text_of(record, "title", path, line, required=False),
        text=text_of(record, "text", path, line, required=False),
    )
    score = record.get("score")
    if score is not None:
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise InputFileError(str(path), line, f'"score" is {score!r}: give a number')
        candidate.score = score
    return candidate
