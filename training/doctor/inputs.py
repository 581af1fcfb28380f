"""What goes in: the feedback log, labelled examples, the corpus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sidecar.errors import SidecarError
from sidecar.storage.feedback import parquet
from sidecar.storage.feedback.journal import FILE_NAME
from sidecar.storage.feedback.status import read_status
from training.config import TrainingConfig
from training.doctor.findings import Finding, fail, ok, warn
from training.examples.places import place_of

FEW_CLICKS = 1000  # below it a gain is seldom told from chance


def look_at_inputs(config: TrainingConfig) -> Iterator[Finding]:
    """Whether anything is there to learn from."""
    collected = config.collect
    if not collected.feedback and not collected.judgments:
        yield fail("inputs", "nothing to learn from", "set collect.feedback or collect.judgments")
    for given in collected.feedback:
        yield from _look_at_feedback(Path(given))
    for given in collected.judgments:
        yield _look_at_path("judgments", place_of(given).path)
    if collected.corpus:
        yield _look_at_corpus(Path(collected.corpus))
    if config.evaluate.judged:
        yield _look_at_path("evaluate.judged", place_of(config.evaluate.judged).path)


def _look_at_feedback(path: Path) -> Iterator[Finding]:
    if path.is_file():
        yield _look_at_lines(path)
        return
    if not path.is_dir():
        yield fail("feedback", f"{path} is not there", "give DATA/feedback of the sidecar")
        return
    rows = {kind: _rolled_rows(path, kind) for kind in ("impressions", "events")}
    waiting = _unrolled(path)
    advice = f"`sidecar feedback roll --all --data {path.parent}` writes what is in its database"
    told = f"{path} holds {rows['impressions']:,} impressions and {rows['events']:,} events"
    if not rows["impressions"]:
        yield fail("feedback", f"{told} in Parquet, {waiting:,} rows wait in its database", advice)
    elif rows["events"] < FEW_CLICKS:
        yield warn("feedback", told, "that is little: expect the gate to say so")
    else:
        yield ok("feedback", told)
    if rows["impressions"] and waiting:
        yield warn("feedback", f"{waiting:,} rows of {path} are not in Parquet yet", advice)


def _rolled_rows(folder: Path, kind: str) -> int:
    files = (folder / kind).glob("hour=*/[!.]*.parquet")
    return sum(map(parquet.count_rows, files))


def _unrolled(folder: Path) -> int:
    """Rows in the sidecar's database, 0 where there is none (a copy of the Parquet files)."""
    if not (folder / FILE_NAME).is_file():
        return 0
    try:
        return sum(kind.in_log for kind in read_status(folder).kinds.values())
    except SidecarError:
        return 0


def _look_at_lines(path: Path) -> Finding:
    try:
        with path.open("rb") as lines:
            count = sum(1 for line in lines if line.strip())
    except OSError as error:
        return fail("feedback", f"{path}: {error.strerror}", "give a file that can be read")
    if not count:
        return fail("feedback", f"{path} is empty", "give impressions, a JSON object a line")
    return ok("feedback", f"{path} holds {count:,} lines")


def _look_at_path(about: str, path: Path) -> Finding:
    if not path.exists():
        return fail(about, f"{path} is not there", "correct the path")
    return ok(about, f"{path} is there")


def _look_at_corpus(path: Path) -> Finding:
    file = path / "corpus.jsonl" if path.is_dir() else path
    if not file.is_file():
        return fail("corpus", f"{file} is not there", "give corpus.jsonl or a folder that holds it")
    return ok("corpus", f"{file}, {file.stat().st_size / 2**20:.1f} MiB")
