"""A trained model -> the folders that serve it, and whether they serve what was trained.

plain model -> transformers/ (its weights) -> onnx/ (its weights in 8 bits)
each with golden pairs, calibration and weight of the scores that its own weights give
-> parity of the one that serves, through the real server
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sidecar.errors import ConfigurationError
from sidecar.models.contract import ScoreCalibration
from training.config import ExportConfig
from training.evaluation.evidence import Parity, parity_of
from training.exporting.calibration import fit_platt
from training.exporting.card import card_of
from training.exporting.contract_file import GoldenPair, contract_of, write_contract
from training.exporting.dev_pairs import DevPairs, Floats, pair_values
from training.exporting.encoder_graph import build_graph, with_stored
from training.exporting.folders import is_decoder, write_onnx, write_transformers
from training.exporting.golden import PAIRS
from training.exporting.parity import measure_parity
from training.exporting.weight_choice import WeightChoice, choose_weight
from training.fine_tuning.adapters import has_prefix
from training.fine_tuning.base import Opened, open_base

ONNX, TRANSFORMERS = "onnx", "transformers"
PARITY_FILE, EXPORT_FILE = "parity.json", "export.json"
LEAST_DEV_PAIRS = 4  # fewer make no golden pairs
Tell = Callable[[str], None]
_STORAGE = {
    ONNX: "Large weights are int8 with a scale for each block of 128 columns (one a row for "
    "embeddings), behind DequantizeLinear nodes that a runtime folds into float weights when it "
    "loads. Activations are float.",
    TRANSFORMERS: "Safetensors, as trained.",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What is exported. `earlier`: (pairs,) scores of the stage before a reranker over `dev`, None
    for a bi-encoder; `role`: whose place it takes; `lineage`: for contract and card."""

    opened: Opened
    name: str
    role: str
    dev: DevPairs
    earlier: Floats | None
    lineage: Mapping[str, Any]
    config: ExportConfig
    seed: int


def formats_of(opened: Opened, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ExportConfig.formats that the model can be written in; the first serves.

    Raises ConfigurationError where that is none.
    """
    if unknown := set(wanted) - {ONNX, TRANSFORMERS}:
        raise ConfigurationError(f"export.formats: {sorted(unknown)}: give onnx, transformers")
    possible: tuple[str, ...]
    if is_decoder(opened.model):
        possible, why = (TRANSFORMERS,), "a decoder is served by vLLM, from safetensors"
    elif has_prefix(opened.model):
        possible, why = (ONNX,), "a prefix is no weight of the model, only a graph holds it"
    else:
        possible, why = (ONNX, TRANSFORMERS), ""
    chosen = tuple(each for each in possible if each in wanted)
    if not chosen:
        raise ConfigurationError(f"export.formats: {why}: give {possible[0]!r}")
    return chosen


def export(task: Task, out: Path, scratch: Path, tell: Tell) -> dict[str, Any]:
    """Writes onnx/, transformers/, parity.json and export.json; figures."""
    formats = formats_of(task.opened, task.config.formats)
    tell(f"scoring {len(task.dev.pairs)} dev pairs as trained")
    trained = _values(task.opened, task.dev)
    written = {}
    for each in sorted(formats, key=(TRANSFORMERS, ONNX).index):  # onnx rounds the weights
        tell(f"writing {each}/")
        written[each] = _write(task, each, out / each)
    serves = formats[0]
    parity, through = _parity(task, trained, out / serves, scratch, tell)
    shown = {**dataclasses.asdict(parity), "through": through}
    _write_json(out / PARITY_FILE, shown)
    told = {"serves": serves, "formats": list(formats), "dev_trained": task.dev.measured(trained)}
    figures = {**told, **written[serves], **{f"parity_{key}": shown[key] for key in shown}}
    _write_json(out / EXPORT_FILE, {**figures, "written": written})
    return _flat(figures)


def _write(task: Task, format_name: str, folder: Path) -> dict[str, Any]:
    """One folder; its figures. The model has the weights that were written afterwards."""
    opened, spec = task.opened, task.opened.spec
    if format_name == ONNX:
        graph, stored = build_graph(opened.model, spec, opened.tokenizer.model_input_names)
        with_stored(opened.model, stored)
        write_onnx(graph, opened.model, opened.tokenizer, folder)
    else:
        write_transformers(opened.model, opened.tokenizer, spec, folder)
    scores = _values(opened, task.dev)
    chosen = _weight(task, scores)
    calibration = _calibration(task, scores)
    measured = [(f"nDCG@10, {len(task.dev.lists)} lists", task.dev.measured(scores))]
    if chosen.measured:
        measured += [(f"the same at weight {chosen.weight}", chosen.measured[chosen.weight])]
        measured += [("the same before reranking", chosen.measured[0.0])]
    card = card_of(spec, task.name, task.lineage, measured, _STORAGE[format_name])
    (folder / "README.md").write_text(card, encoding="utf-8")
    contract = contract_of(
        spec,
        task.name,
        int(opened.model.config.hidden_size),
        golden_pairs(task),
        chosen.weight,
        calibration,
        task.lineage,
    )
    revision = write_contract(folder, contract)["revision"]
    return {
        "revision": revision,
        "dev_written": task.dev.measured(scores),
        "weight": chosen.weight,
        "weight_why": chosen.why,
        "calibration": calibration and dataclasses.asdict(calibration),
        "megabytes": round(
            sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6, 1
        ),
    }


def golden_pairs(task: Task) -> list[GoldenPair]:
    """Pairs drawn from the dev lists, half of them relevant where there are as many, with the
    scores of the weights that are written; the package's own where dev has none."""
    pairs = task.dev.pairs
    drawn = _drawn(task, pairs) if len(pairs) >= LEAST_DEV_PAIRS else list(PAIRS)
    # One by one: a golden pair's score is that of no batch.
    return [
        (query, passage, round(float(pair_values(task.opened, [(query, passage)])[0]), 6))
        for query, passage in drawn
    ]


def _drawn(task: Task, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    source, count = random.Random(task.seed), max(task.config.golden_pairs, 2)
    marked = list(dict.fromkeys(zip(pairs, task.dev.relevant, strict=True)))
    source.shuffle(marked)
    relevant = [pair for pair, is_relevant in marked if is_relevant][: count // 2]
    others = [pair for pair, is_relevant in marked if not is_relevant]
    return [*relevant, *others[: count - len(relevant)]]


def _values(opened: Opened, dev: DevPairs) -> Floats:
    with on_accelerator(opened):
        return pair_values(opened, dev.pairs)


def _weight(task: Task, scores: Floats) -> WeightChoice:
    kept = task.opened.spec.weight
    if task.earlier is None:
        return WeightChoice(1.0, "a bi-encoder has none", {})
    if not task.config.choose_weight:
        return WeightChoice(kept, "the base's, as configured", {})
    return choose_weight(task.dev, scores, task.earlier, kept)


def _calibration(task: Task, scores: Floats) -> ScoreCalibration | None:
    """None where it is not wanted, or dev pairs cannot tell."""
    if not task.config.calibrate or task.opened.spec.kind != "cross-encoder":
        return None
    try:
        return fit_platt(scores.tolist(), task.dev.relevant)
    except ValueError:
        return None


def _parity(
    task: Task, trained: Floats, folder: Path, scratch: Path, tell: Tell
) -> tuple[Parity, str]:
    """And through what: a sidecar's process, or a decoder's folder read again."""
    some = task.dev.first(task.config.parity_pairs)
    count = len(some.pairs)
    tell(f"comparing {count} pairs with those of a sidecar that serves it")
    if not is_decoder(task.opened.model):
        return measure_parity(some, trained[:count], folder, task.role, scratch), "sidecar"
    again = open_base(str(folder), task.opened.spec.kind)
    served = _values(again, some)
    difference = some.measured(served) - some.measured(trained[:count])
    return parity_of(trained[:count].tolist(), served.tolist(), difference), "folder"


@contextmanager
def on_accelerator(opened: Opened) -> Iterator[None]:
    """The model on the GPU where there is one, and back on the CPU."""
    if torch.cuda.is_available():
        opened.model.to("cuda")
    try:
        yield
    finally:
        opened.model.to("cpu")


def _flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """What stands in one line."""
    return {key: value for key, value in figures.items() if isinstance(value, str | int | float)}


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
