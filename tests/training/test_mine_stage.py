"""The stage mine: over a real sidecar, over the same recall in this process, and cut short."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sidecar.models.hub import CARRIED
from training.config import MineConfig, SidecarConfig, TrainingConfig
from training.labels.expected_grades import ExpectedGrades
from training.lists import (
    ListCandidate,
    Source,
    Split,
    TrainingList,
    read_lists,
    read_passages,
    write_lists,
)
from training.mining import recall_choice
from training.mining.recall_choice import OpenedRecall, serves_files_of
from training.serving.client import RecallHit, SidecarClient
from training.serving.models import ServingModel
from training.serving.private import private_sidecar
from training.stages import mine

from .works import work_for, write_rows

SETTINGS = {"runtime": {"runtime": "onnxruntime", "precision": "fp32", "threads": 1}}
THINGS = "kettle sock pan lamp rope sail brush chair table mirror candle bottle".split()  # noqa: SIM905
KINDS = ("red", "blue", "small", "large")
NEEDS = ("collect", "label", "bi_encoder/export", "bi_encoder/gate")


def rows() -> list[dict[str, str]]:
    return [
        {"_id": f"{kind}-{thing}", "title": f"{kind.title()} {thing}", "text": f"A {kind} {thing}."}
        for thing in THINGS
        for kind in KINDS
    ]


def labels() -> list[TrainingList]:
    splits = (Split.TRAIN, Split.TRAIN, Split.DEV, Split.TEST)
    return [
        TrainingList(
            f"q-{kind}-{thing}",
            f"{kind} {thing}",
            splits[number % 4],
            (
                ListCandidate(f"{kind}-{thing}", 1.0, 4),
                ListCandidate(f"{KINDS[number % 4 - 1]}-{thing}", 0.0, 0, 1.0, Source.SKIPPED),
            ),
        )
        for number, thing in enumerate(THINGS)
        for kind in (KINDS[number % 4],)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run's folder after label."""
    write_rows(tmp_path / "run" / "collect" / "corpus.jsonl", rows())
    (tmp_path / "run" / "label").mkdir()
    without = TrainingList("q-none", "nothing", Split.TRAIN, ())
    write_lists([*labels(), without], tmp_path / "run" / "label" / "lists.jsonl")
    return tmp_path / "run"


def with_mine(config: TrainingConfig, **keys: Any) -> TrainingConfig:
    mining = MineConfig(**{"negatives": 4, "depth": 12} | keys)
    reranker = dataclasses.replace(config.reranker, mine=mining)
    return dataclasses.replace(config, reranker=reranker)


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, configuration) of one that has the documents, and some that the run has not."""
    folder = tmp_path_factory.mktemp("sidecar")
    models = {"bi_encoder": "all-minilm-l6-v2"}
    with private_sidecar(folder / "data", models, folder / "log", SETTINGS) as address:
        with SidecarClient(address, "things") as client:
            client.index([*rows(), {"_id": "only-here", "title": "", "text": "A blue sail bag."}])
        yield address, folder / "data" / "sidecar.toml"


def test_live_recall_mines_documents_that_only_the_sidecar_knows(
    root: Path, sidecar: tuple[str, Path]
) -> None:
    config = with_mine(
        TrainingConfig(sidecar=SidecarConfig(sidecar[0], "things")),
        negatives=11,
        relative_margin=0.0,
        **{"hard_share": 1.0, "skipped_share": 0.0, "random_share": 0.0},
    )
    figures = mine.run(work_for("reranker/mine", root, config, NEEDS))
    lists = list(read_lists(root / "reranker" / "mine" / "lists.jsonl"))
    assert [one.query_id for one in lists] == [
        one.query_id for one in labels() if one.split is not Split.TEST
    ]
    assert figures["recall"] == f"live recall of {sidecar[0]}"
    assert (figures["train_lists"], figures["dev_lists"]) == (6, 3)
    assert figures["without_positive"] == 1
    train = [one for one in lists if one.split is Split.TRAIN]
    assert all([c.source for c in one.candidates].count(Source.SKIPPED) == 1 for one in train)
    assert all(len(one.candidates) == 12 for one in train)
    passages = read_passages(root / "reranker" / "mine" / "passages.jsonl")
    assert set(passages) == {c.doc_id for one in lists for c in one.candidates}
    assert passages["red-kettle"] == "Red kettle\nA red kettle."
    sail = next(one for one in lists if one.query == "blue sail")
    assert passages.get("only-here") == "A blue sail bag."
    assert "only-here" in sail.judged


def test_own_recall_is_live_recall_of_the_same_models(
    root: Path, sidecar: tuple[str, Path], tmp_path: Path
) -> None:
    address, configuration = sidecar
    write_rows(
        root / "collect" / "corpus.jsonl",
        [*rows(), {"_id": "only-here", "title": "", "text": "A blue sail bag."}],
    )
    live = with_mine(TrainingConfig(sidecar=SidecarConfig(address, "things")))
    own = with_mine(TrainingConfig(sidecar=SidecarConfig(configuration=str(configuration))))
    live_work = work_for("reranker/mine", root, live, NEEDS)
    live_figures = mine.run(live_work)
    recalled = {"live": (live_work.scratch / "recalled.jsonl").read_text()}
    lists = {"live": (live_work.out / "lists.jsonl").read_text()}
    own_work = work_for("reranker/mine-own", root, own, NEEDS)
    own_work = dataclasses.replace(own_work, model="reranker")
    own_figures = mine.run(own_work)
    recalled["own"] = (own_work.scratch / "recalled.jsonl").read_text()
    lists["own"] = (own_work.out / "lists.jsonl").read_text()
    assert own_figures["recall"] == "own recall: no sidecar runs"
    for one, other in zip(recalled["live"].splitlines(), recalled["own"].splitlines(), strict=True):
        (query_id, left), (same, right) = json.loads(one), json.loads(other)
        assert query_id == same
        assert [each[0] for each in left] == [each[0] for each in right]
        for (_, *scores), (_, *others) in zip(left, right, strict=True):
            assert scores == pytest.approx(others, abs=1e-3)
    assert lists["live"] == lists["own"]
    assert {**live_figures, "recall": ""} == {**own_figures, "recall": ""}


def test_a_bi_encoder_that_was_accepted_and_does_not_serve_yet_is_mined_with(
    root: Path, sidecar: tuple[str, Path]
) -> None:
    export, gate = root / "bi_encoder" / "export", root / "bi_encoder" / "gate"
    (export).mkdir(parents=True)
    gate.mkdir()
    (export / "onnx").symlink_to(CARRIED / "all-minilm-l6-v2")
    (export / "export.json").write_text('{"serves": "onnx"}')
    told = dataclasses.replace(SidecarConfig(sidecar[0], "things"), configuration=str(sidecar[1]))
    config = with_mine(TrainingConfig(sidecar=told))
    for verdict, recall in (
        ("refused", f"live recall of {sidecar[0]}"),
        ("accepted", "own recall: the bi-encoder of this run"),
    ):
        (gate / "verdict.json").write_text(json.dumps({"verdict": verdict}))
        work = work_for("reranker/mine", root, config, NEEDS)
        assert mine.run(work)["recall"] == recall
        (work.scratch / "recalled.jsonl").unlink()


class Interrupted:
    """Recalls the first documents whatever is asked, and is cut short after some queries."""

    def __init__(self, most: int) -> None:
        self.asked: list[str] = []
        self._most = most

    def recall(self, queries: Sequence[str], depth: int) -> list[list[RecallHit]]:
        if len(self.asked) + len(queries) > self._most:
            raise KeyboardInterrupt
        self.asked += queries
        names = [row["_id"] for row in rows()][:depth]
        return [
            [RecallHit(name, rank, 1 / rank, None, 1 / rank) for rank, name in enumerate(names, 1)]
            for _ in queries
        ]


def test_what_was_cut_short_goes_on_where_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mined(place: str, recall: Interrupted) -> str:
        @contextlib.contextmanager
        def opened(*_: object) -> Iterator[OpenedRecall]:
            yield OpenedRecall(recall, "a fake", None)

        monkeypatch.setattr(mine, "open_recall", opened)
        work = work_for(place, root, with_mine(TrainingConfig()), NEEDS)
        mine.run(dataclasses.replace(work, model="reranker"))
        return (work.out / "lists.jsonl").read_text()

    monkeypatch.setattr(mine, "QUERIES_KEPT_TOGETHER", 2)
    whole = mined("reranker/whole", Interrupted(1000))
    first = Interrupted(5)
    with pytest.raises(KeyboardInterrupt):
        mined("reranker/mine", first)
    kept = root / "reranker" / "mine" / "scratch" / "recalled.jsonl"
    with kept.open("a") as torn:
        torn.write('["q-blue-t')
    second = Interrupted(1000)
    assert mined("reranker/mine", second) == whole
    asked = [one.query for one in labels() if one.split is not Split.TEST]
    assert (first.asked, second.asked) == (asked[:4], asked[4:])


@pytest.mark.parametrize("loss", ["listwise_softmax", "rank_net"])
def test_what_users_asked_is_mined_as_the_loss_takes_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    @contextlib.contextmanager
    def opened(*_: object) -> Iterator[OpenedRecall]:
        yield OpenedRecall(Interrupted(1000), "a fake", None)

    monkeypatch.setattr(mine, "open_recall", opened)
    asked = [
        dataclasses.replace(
            one,
            candidates=tuple(
                dataclasses.replace(each, source=Source.CLICKED) if each.gain else each
                for each in one.candidates
            ),
        )
        for one in labels()
    ]
    write_lists(asked, root / "label" / "lists.jsonl")
    shown = {one.query_id: {**one.judged, "large-bottle": 0.4} for one in asked}
    ExpectedGrades(shown, 1.0, 0.1, 3).write(root / "label" / "expected_grades.json")
    config = with_mine(TrainingConfig())
    config = dataclasses.replace(config, reranker=dataclasses.replace(config.reranker, loss=loss))
    figures = mine.run(work_for("reranker/mine", root, config, NEEDS))
    train = list(read_lists(root / "reranker" / "mine" / "lists.jsonl", Split.TRAIN))
    positives = [[each.gain for each in one.candidates if each.gain] for one in train]
    if loss == "rank_net":
        assert positives == [[1.0]] * 6
    else:
        # A clicked one, one that was shown, and two recalled ones that were not.
        assert [gains[:2] for gains in positives] == [[1.0, pytest.approx(0.1)]] * 6
        assert all(len(gains) == 4 and max(gains[2:]) < 0.2 for gains in positives)
        assert figures["expected_lists"] == figures["expected_shown"] == 6
    assert ("expected_lists" in figures) == (loss == "listwise_softmax")


def test_a_bi_encoder_serves_where_its_weights_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "model.onnx"
    weights.write_text("weights")
    serving = ServingModel("bi_encoder", "mini", "2-abc", "", "all-minilm", "2")
    digests = {"model.onnx": hashlib.sha256(b"weights").hexdigest(), "tokenizer.json": "t"}
    monkeypatch.setattr(recall_choice, "serving_models", lambda *_: {"bi_encoder": serving})
    monkeypatch.setattr(recall_choice, "files_of", lambda *_: digests)
    assert serves_files_of(SidecarConfig("there"), tmp_path)
    weights.write_text("other weights")
    assert not serves_files_of(SidecarConfig("there"), tmp_path)
    weights.unlink()
    assert not serves_files_of(SidecarConfig("there"), tmp_path)
    carried = dataclasses.replace(serving, registry_model="")
    monkeypatch.setattr(recall_choice, "serving_models", lambda *_: {"bi_encoder": carried})
    weights.write_text("weights")
    assert not serves_files_of(SidecarConfig("there"), tmp_path)
