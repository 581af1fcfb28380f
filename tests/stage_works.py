"""What a stage is given, for tests that run one without a run around it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from sidecar.typed_toml import with_values
from training.config import TrainingConfig
from training.progress import Progress
from training.stage import Work


def a_config(**sections: Any) -> TrainingConfig:
    """collect={"judgments": [...]}, seed=3: the rest as it is by default."""
    return with_values(TrainingConfig(), sections)


def a_work(
    root: Path, place: str, config: TrainingConfig, *needs: str, said: io.StringIO | None = None
) -> Work:
    """For the stage of `place` in the run's folder `root`; `needs` are places of others."""
    out = root / place
    out.mkdir(parents=True, exist_ok=True)
    inputs = {need: root / need for need in needs}
    return Work(config, "", out, inputs, Progress(None, place, said or io.StringIO()))


def json_lines(path: Path) -> list[Any]:
    """All of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_json_lines(path: Path, *rows: Any) -> Path:
    """One a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), "utf-8")
    return path


def a_beir_folder(
    folder: Path,
    queries: dict[str, str],
    qrels: dict[str, dict[str, int]],
    documents: dict[str, str],
    split: str = "train",
) -> Path:
    """Documents have a text and no title."""
    write_json_lines(
        folder / "corpus.jsonl", *({"_id": one, "text": text} for one, text in documents.items())
    )
    write_json_lines(
        folder / "queries.jsonl", *({"_id": one, "text": text} for one, text in queries.items())
    )
    lines = [f"{q}\t{d}\t{grade}" for q, grades in qrels.items() for d, grade in grades.items()]
    (folder / "qrels").mkdir(exist_ok=True)
    text = "\n".join(["query-id\tcorpus-id\tscore", *lines])
    (folder / "qrels" / f"{split}.tsv").write_text(text, "utf-8")
    return folder
