"""A run's folders as far as evaluation reads them: a small shop, its queries, exported models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sidecar.models.hub import CARRIED
from training.clicks.log import click_log
from training.clicks.store import write_clicks
from training.config import TrainingConfig
from training.config_file import load_training_config
from training.lists import ListCandidate, Source, Split, TrainingList, write_lists
from training.progress import Progress
from training.queries import KnownQuery, read_queries, write_queries
from training.stage import Work

COLOURS = ("red", "green", "blue", "white", "black", "yellow")
# Thing -> what it says of itself, what somebody asks for; the two share few words.
THINGS = {
    "lamp": ("a desk lamp with a switch and a shade", "light to read by at night"),
    "hose": ("a garden hose with brass fittings", "watering the plants outside"),
    "drill": ("a cordless drill with two batteries", "make holes in a wall"),
    "paint": ("interior wall paint, one gallon", "change the colour of my room"),
    "ladder": ("an aluminium step ladder for the house", "reach a high shelf"),
    "tap": ("a kitchen tap with a pull out spray", "faucet for the sink"),
}
# One runtime and precision, so that nothing is timed to choose among them.
SIDECAR = """[runtime]
runtime = "onnxruntime"
precision = "fp32"
[bi_encoder]
model = "{bi_encoder}"
[first_reranker]
model = "{first_reranker}"
depth = 20
[second_reranker]
model = "{second_reranker}"
depth = 10
"""


def write_shop(root: Path, hostile: str = "") -> dict[str, Path]:
    """collect, propensity and label; `hostile` is asked by somebody as well, and found."""
    folders = {name: root / name for name in ("collect", "propensity", "label")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    with (folders["collect"] / "corpus.jsonl").open("w") as corpus:
        for colour in COLOURS:
            for thing, (text, _) in THINGS.items():
                row = {"_id": f"{colour}-{thing}", "title": f"{colour} {thing}", "text": text}
                corpus.write(json.dumps(row) + "\n")
    asked = {f"{c}-{t}": f"{THINGS[t][1]} {c}" for c in COLOURS[:4] for t in THINGS}
    if hostile:
        asked["red-tap"] = hostile
    known, lists = [], []
    for number, (doc_id, text) in enumerate(asked.items()):
        query_id = f"q-{doc_id}"
        known.append(KnownQuery(query_id, text, Split.TEST, 100 if number < 12 else 1, "en"))
        colour, thing = doc_id.split("-")
        passed_over = [f"black-{thing}", *(f"{colour}-{each}" for each in THINGS if each != thing)]
        judged = (
            ListCandidate(doc_id, 1.0, 3, source=Source.CLICKED),
            ListCandidate(f"yellow-{thing}", 0.4, 1, source=Source.CLICKED),
            *(ListCandidate(each, 0.0, 0, source=Source.SKIPPED) for each in passed_over),
        )
        lists.append(TrainingList(query_id, text, Split.TEST, judged))
    write_queries(known, folders["collect"] / "queries.jsonl")
    write_lists(lists, folders["label"] / "lists.jsonl")
    (folders["collect"] / "report.json").write_text(json.dumps({"words": ["24 queries."]}))
    (folders["propensity"] / "choice.json").write_text(json.dumps({"estimator": "none"}))
    return folders


def write_log(folders: Mapping[str, Path], impressions: int = 1200, seed: int = 0) -> None:
    """Users who were shown five documents each, drawn, and looked at rank k with 1 / k."""
    source = np.random.default_rng(seed)
    queries = [one.query_id for one in read_queries(folders["collect"] / "queries.jsonl")]
    names = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]
    asked = source.integers(len(queries), size=impressions)
    shown = source.permuted(np.tile(np.arange(len(names)), (impressions, 1)), axis=1)[:, :5]
    wanted = np.array([names.index(each.removeprefix("q-")) for each in queries])[asked]
    missing = (shown != wanted[:, None]).all(axis=1)
    shown[missing, source.integers(5, size=missing.sum())] = wanted[missing]
    attraction = np.where(shown == wanted[:, None], 0.8, 0.1)
    clicks = source.random(shown.shape) < attraction / np.arange(1, 6)
    log = click_log(
        asked, shown, clicks=clicks, query_names=tuple(queries), document_names=tuple(names)
    )
    write_clicks(log, folders["collect"] / "clicks.npz")
    told = {"estimator": "pbm", "propensities": [1 / rank for rank in range(1, 6)]}
    (folders["propensity"] / "choice.json").write_text(json.dumps({**told, "why": ["asked for"]}))
    (folders["propensity"] / "propensities.json").write_text(json.dumps(told))


def write_export(folder: Path, carried: str) -> Path:
    """An export that serves a copy of a carried model; scores as trained, it says."""
    shutil.copytree(CARRIED / carried, folder / "onnx")
    (folder / "export.json").write_text(json.dumps({"serves": "onnx"}))
    parity = {"pairs": 200, "rank_correlation": 0.9999, "measure_difference": 0.0}
    (folder / "parity.json").write_text(json.dumps(parity))
    return folder


def write_history(folder: Path) -> Path:
    """As fit tells it."""
    folder.mkdir(parents=True)
    history = {
        "precision": "fp32",
        "steps": 40,
        "base": 0.61,
        "looks": [[10, 0.62], [20, 0.66], [30, 0.65], [40, 0.66]],
        "losses": [[step, 2.0 / step + 0.3] for step in range(1, 41)],
        "best_step": 20,
        "shares": [[0.0, 0.66], [0.25, 0.67]],
        "share": 0.25,
        "changes": ["chunk_tokens halved to 4096: memory did not do"],
    }
    (folder / "history.json").write_text(json.dumps(history))
    return folder


def config_of(root: Path, models: Mapping[str, str], *overrides: str) -> TrainingConfig:
    """Of a run whose sidecar serves these models."""
    (root / "sidecar.toml").write_text(SIDECAR.format(**models))
    (root / "run.toml").write_text("")
    given = (f"sidecar.configuration={root / 'sidecar.toml'}", *overrides)
    return load_training_config(root / "run.toml", given)


def work_of(
    root: Path,
    config: TrainingConfig,
    model: str,
    inputs: Mapping[str, Path],
    name: str = "evaluate",
) -> Work:
    """A stage of a run, whose folder is made."""
    out = root / model / name
    out.mkdir(parents=True, exist_ok=True)
    return Work(config, model, out, inputs, Progress(None, f"{model}/{name}"))
