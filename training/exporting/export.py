"""A trained model -> the folders that serve it, and whether they serve what was trained.

plain model -> transformers/ (its weights) -> onnx/ (its weights in 8 bits)
-> dev pairs through a real server that opens the one that is to serve
-> parity with what was trained; weight and calibration of the served scores
-> cards and contracts
"""

from __future__ import annotations

import dataclasses
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
from training.exporting.calibration import fit_platt
from training.exporting.card import card_of
from training.exporting.contract_file import GoldenPair, contract_of, write_contract
from training.exporting.dev_pairs import MEASURE, DevPairs, Floats, pair_values
from training.exporting.earlier_stage import FirstStage
from training.exporting.encoder_graph import build_graph, with_stored
from training.exporting.folders import is_decoder, write_onnx, write_transformers
from training.exporting.golden import PAIRS
from training.exporting.parity import Compared, compared, served_scores
from training.exporting.weight_choice import WeightChoice, choose_weight, joined, recall_scores
from training.fine_tuning.adapters import has_prefix
from training.fine_tuning.opening import Opened, open_base
from training.lists import ListCandidate, Split, TrainingList
from training.run_files import EXPORT_FILE, PARITY_FILE, write_json

ONNX, TRANSFORMERS = "onnx", "transformers"
LEAST_DEV_PAIRS = 4  # fewer make no golden pairs
Tell = Callable[[str], None]
PACKAGED = DevPairs(  # where a run has no dev lists of its own
    [
        TrainingList(
            str(number),
            query,
            Split.DEV,
            (ListCandidate(f"{number}+", 1.0, 4), ListCandidate(f"{number}-", 0.0, 0)),
        )
        for number, (query, _) in enumerate(PAIRS[::2])
    ],
    {f"{number // 2}{'+-'[number % 2]}": passage for number, (_, passage) in enumerate(PAIRS)},
)
_STORAGE = {
    ONNX: "Large weights are int8 with a scale for each block of 128 columns (one a row for "
    "embeddings), behind DequantizeLinear nodes that a runtime folds into float weights when it "
    "loads. Activations are float.",
    TRANSFORMERS: "Safetensors, as trained.",
}


@dataclass(frozen=True, slots=True)
class Task:
    """What is exported. `role`: whose place it takes; `before`: the rerank stage before it, None
    where recall is; `lineage`: for contract and card."""

    opened: Opened
    name: str
    role: str
    dev: DevPairs
    before: FirstStage | None
    lineage: Mapping[str, Any]
    config: ExportConfig
    seed: int


@dataclass(frozen=True, slots=True)
class _Written:
    """A folder but for its card and contract, and its golden pairs."""

    folder: Path
    format: str
    golden: list[GoldenPair]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What is decided on the scores that are served."""

    weight: WeightChoice
    calibration: ScoreCalibration | None
    measures: list[tuple[str, float]]


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
    dev, serves = task.dev if task.dev.lists else PACKAGED, formats[0]
    if task.opened.spec.kind == "bi-encoder":  # its documents are indexed
        dev = dev.first(task.config.parity_pairs)
    tell(f"scoring {len(dev.pairs)} dev pairs as trained")
    trained = _values(task.opened, dev)
    written = []
    for format_name in sorted(formats, key=(TRANSFORMERS, ONNX).index):  # onnx rounds the weights
        tell(f"writing {format_name}/")
        written.append(_write(task, format_name, out / format_name))
    # A folder is opened by its contract, so each has one before all is known.
    undecided = _Chosen(WeightChoice(task.opened.spec.weight, "", {}), None, [])
    for each in written:
        _describe(task, each, undecided)
    tell(f"comparing {len(dev.pairs)} pairs with those of a server")
    served, earlier = _served(task, dev, out / serves, scratch)
    found = compared(dev, trained, served)
    chosen = _choose(task, dev, trained, served, earlier, found)
    contracts = {each.format: _describe(task, each, chosen) for each in written}
    parity = {
        **dataclasses.asdict(found.parity),
        "measured_difference": found.difference,
        "deviation": found.deviation,
        "through": "folder" if is_decoder(task.opened.model) else "sidecar",
    }
    write_json(out / PARITY_FILE, parity)
    figures = {
        "serves": serves,
        "revision": contracts[serves]["revision"],
        "dev_trained": dev.measured(trained),
        "dev_served": dev.measured(trained) + found.difference,
        "weight": chosen.weight.weight,
        "megabytes": _megabytes(out / serves),
        **{f"parity_{name}": value for name, value in parity.items()},
    }
    told = {"formats": list(formats), "weight_why": chosen.weight.why}
    write_json(out / EXPORT_FILE, {**figures, **told})
    return figures


def _write(task: Task, format_name: str, folder: Path) -> _Written:
    """The model has the weights that were written afterwards."""
    opened, spec = task.opened, task.opened.spec
    if format_name == ONNX:
        graph, stored = build_graph(opened.model, spec, opened.tokenizer.model_input_names)
        with_stored(opened.model, stored)
        write_onnx(graph, opened.model, opened.tokenizer, folder)
    else:
        write_transformers(opened.model, opened.tokenizer, spec, folder)
    return _Written(folder, format_name, golden_pairs(task))


def _describe(task: Task, written: _Written, chosen: _Chosen) -> dict[str, Any]:
    """Card and contract."""
    spec, dimensions = task.opened.spec, int(task.opened.model.config.hidden_size)
    storage = _STORAGE[written.format]
    card = card_of(spec, task.name, task.lineage, chosen.measures, storage)
    (written.folder / "README.md").write_text(card, encoding="utf-8")
    contract = contract_of(
        spec,
        task.name,
        dimensions,
        written.golden,
        chosen.weight.weight,
        chosen.calibration,
        task.lineage,
    )
    return write_contract(written.folder, contract)


def _served(task: Task, dev: DevPairs, folder: Path, scratch: Path) -> tuple[Floats, Floats | None]:
    """(pairs,) what is served of the model, and of the stage before a reranker."""
    spec, before = task.opened.spec, task.before
    recalled = None if spec.kind == "bi-encoder" else recall_scores(dev)
    if is_decoder(task.opened.model):  # vLLM serves it, and checks the golden pairs
        return _values(open_base(str(folder), spec.kind), dev), recalled
    models: dict[str, str | Path] = {task.role: folder}
    if before is not None:
        models["first_reranker"] = before.model
    scores = served_scores(dev, models, scratch)
    if before is not None and recalled is not None:
        recalled = joined(dev, scores["first_reranker"], recalled, before.weight)
    return scores[task.role], recalled


def _choose(
    task: Task,
    dev: DevPairs,
    trained: Floats,
    served: Floats,
    earlier: Floats | None,
    found: Compared,
) -> _Chosen:
    measures = [
        (f"{MEASURE} over {len(dev.lists)} lists, as trained", dev.measured(trained)),
        ("the same, as served", dev.measured(trained) + found.difference),
    ]
    if earlier is None:
        return _Chosen(WeightChoice(1.0, "a bi-encoder has none", {}), None, measures)
    kept = task.opened.spec.weight
    weight = WeightChoice(kept, "the base's, as configured", {})
    if task.config.choose_weight:
        weight = choose_weight(dev, served, earlier, kept)
    if weight.measured:
        measures.append((f"joined at weight {weight.weight}", weight.measured[weight.weight]))
        measures.append(("of the stage before", weight.measured[0.0]))
    return _Chosen(weight, _calibration(task, dev, served), measures)


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


def _calibration(task: Task, dev: DevPairs, scores: Floats) -> ScoreCalibration | None:
    """None where it is not wanted, or dev pairs cannot tell."""
    if not task.config.calibrate:
        return None
    try:
        return fit_platt(scores.tolist(), dev.relevant)
    except ValueError:
        return None


@contextmanager
def on_accelerator(opened: Opened) -> Iterator[None]:
    """The model on the GPU where there is one, and back on the CPU."""
    if torch.cuda.is_available():
        opened.model.to("cuda")
    try:
        yield
    finally:
        opened.model.to("cpu")


def _megabytes(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6, 1)
