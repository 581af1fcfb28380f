"""`sidecar-train config --log` and `--judged`: a configuration to begin with, in TOML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import InputFileError
from training.examples.beir import is_beir, qrels_of
from training.examples.places import place_of

_TEST = "test"
_HEAD = """\
# {about}: `sidecar-train keys` tells of every key,
# `sidecar-train doctor` what would stop the run, `sidecar-train run --smoke` tries it.
"""
_LOG = """
[sidecar]
address = "127.0.0.1:50051"  # of the one that wrote the log: its recall is mined
collection = {collection}  # {of}
# configuration = "sidecar.toml"  # the one it serves with; without: the defaults

[collect]
feedback = [{feedback}]  # rolled to Parquet: `sidecar feedback roll --all --data DIR`
"""
_JUDGED = """
[collect]
judgments = [{judgments}]
corpus = {corpus}
{evaluated}"""
_PUBLISH = """
# [publish]  # without it an accepted model stays in the run's folder, below MODEL/export
# registry = "MODELS"  # the one that the sidecar takes its models from
# to = "canary"  # or "version", "production"
"""


def for_log(given: Path) -> str:
    """Of DATA/feedback, of DATA, or of a .jsonl file of impressions. Raises InputFileError."""
    path = given / "feedback" if (given / "feedback").is_dir() else given
    if not path.exists():
        raise InputFileError(str(given), None, "is not there: give DIR/feedback of `serve --data`")
    names = sorted(set(_collections(path)))
    of = "the log's" if len(names) == 1 else f"one of {', '.join(names) or 'the sidecar'}"
    name = names[0] if names else ""
    body = _LOG.format(collection=_toml(name), of=of, feedback=_toml(str(path)))
    return _HEAD.format(about="What users did") + body + _PUBLISH


def for_judged(given: str) -> str:
    """Of a BEIR folder, FOLDER or FOLDER:SPLIT. Raises InputFileError for a folder that is none."""
    place = place_of(given)
    if not is_beir(place.path):
        message = "is no BEIR folder: queries.jsonl and qrels/SPLIT.tsv"
        raise InputFileError(str(place.path), None, message)
    learnt = qrels_of(place.path, place.split)
    test = (learnt.parent / f"{_TEST}.tsv").is_file() and learnt.stem != _TEST
    body = _JUDGED.format(
        judgments=_toml(f"{place.path}:{learnt.stem}"),
        corpus=_toml(str(place.path / "corpus.jsonl")),
        evaluated=_evaluated(f"{place.path}:{_TEST}" if test else ""),
    )
    return _HEAD.format(about="What people judged") + body + _PUBLISH


def _evaluated(judged: str) -> str:
    if not judged:
        return "test_share = 0.2  # of the queries, held out to evaluate on\n"
    shares = "test_share = 0.0  # none held out: others are evaluated on\n"
    return f"{shares}\n[evaluate]\njudged = {_toml(judged)}\n"


def _collections(path: Path) -> Iterator[str]:
    """Of the rolled impressions; none of JSON lines, which name no collection."""
    import pyarrow.parquet as pq  # takes a while, and only this reads Parquet

    for file in path.glob("impressions/hour=*/[!.]*.parquet"):
        yield from pq.read_table(file, columns=["collection"])["collection"].unique().to_pylist()


def _toml(text: str) -> str:
    """A basic string: those of JSON are some."""
    return json.dumps(text, ensure_ascii=False)
