"""Systems: nothing is measured of a model that had no time, nothing is indexed twice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidecar.config_file import load_config
from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.evaluation.beir import JudgedSet
from sidecar.models.contract import ModelContract
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.rerank.reranker import StageScores
from sidecar.types import (
    Hit,
    Query,
    Ranking,
    Stage,
    StageReason,
    StageReport,
    StageScore,
    StageState,
)
from training.evaluation import asking, systems
from training.evaluation.asking import Recorder, scores_in_the_end
from training.evaluation.systems import Systems
from training.models.production import Models

from .evaluated import SIDECAR, write_export, write_shop

NONE = {"bi_encoder": "", "first_reranker": "", "second_reranker": ""}
JUDGED = JudgedSet("shop", {"q1": "red lamp", "q2": "garden hose"}, {"q1": {}, "q2": {}})


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "PAUSES", (0.0, 0.0, 0.0))


class Slow:
    """A pipeline whose model has no time for the first `times` searches of a query."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, 0

    async def run(self, recaller, query, deadline) -> AsyncIterator[Ranking]:
        self.asked += 1
        slow = self.asked <= self.times
        report = StageReport(
            Stage.SECOND_RERANK,
            StageState.FAILED if slow else StageState.COMPLETE,
            StageReason.MODEL_UNAVAILABLE if slow else StageReason.NONE,
        )
        own = () if slow else (StageScore(Stage.SECOND_RERANK, 1, 0.9, 4.5),)
        hit = Hit("a", 1, Stage.SECOND_RERANK, 0.9, scores=own)
        yield Ranking(1, Stage.SECOND_RERANK, True, slow, (hit,), (report,))


async def test_a_query_is_asked_again_where_its_model_had_no_time() -> None:
    pipeline = Slow(times=2)
    recorder = Recorder(pipeline, Stage.SECOND_RERANK)
    found = [each async for each in recorder.run(None, Query("lamp"), None)]
    assert pipeline.asked == 3
    assert [each.degraded for each in found] == [False]
    assert recorder.scores == {"lamp": {"a": 4.5}}


class Busy:
    """A reranker that is not asked for a while."""

    contract = ModelContract("busy", "cross-encoder", "1")

    def __init__(self, times: int) -> None:
        self.times = times

    async def score(self, query, passages, errand) -> StageScores:
        self.times -= 1
        if self.times >= 0:
            raise ModelUnavailableError("not now")
        return StageScores(())


async def test_a_model_that_never_has_time_is_an_error() -> None:
    assert (await scores_in_the_end(Busy(2), "q", [])).pairs == ()
    with pytest.raises(ModelError, match="busy gave no scores"):
        await scores_in_the_end(Busy(9), "q", [])


def config_of(folder: Path):
    (folder / "sidecar.toml").write_text(SIDECAR.format(**NONE))
    return load_config(folder / "sidecar.toml", {})


def opened(folder: Path, corpus: Path) -> Systems:
    return Systems(config_of(folder), corpus, folder / "indexes", folder / "kept")


def test_indexing_goes_on_where_it_was_cut_short(tmp_path: Path, monkeypatch) -> None:
    corpus = write_shop(tmp_path)["collect"]
    monkeypatch.setattr(systems, "BATCH_DOCUMENTS", 10)
    written: list[int] = []
    upsert = EmbeddedCollection.upsert

    def counted(self, documents):
        if len(written) == 2:
            written.append(0)
            raise KeyboardInterrupt
        written.append(len(documents))
        return upsert(self, documents)

    monkeypatch.setattr(EmbeddedCollection, "upsert", counted)
    models = Models("", "", "")
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, corpus) as cut:
        cut.search("production", models, "second_reranker", JUDGED)
    with opened(tmp_path, corpus) as again:
        found = again.search("production", models, "second_reranker", JUDGED)
    assert written == [10, 10, 0, 10, 6]
    assert found.rankings["lexical"]["q1"][0] == "red-lamp"


def test_a_changed_corpus_is_indexed_anew(tmp_path: Path) -> None:
    corpus = write_shop(tmp_path)["collect"]
    models = Models("", "", "")
    with opened(tmp_path, corpus) as first:
        before = first.index_folder("")
    with (corpus / "corpus.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "new", "title": "red lamp", "text": "red lamp"}) + "\n")
    with opened(tmp_path, corpus) as second:
        assert second.index_folder("") != before
        found = second.search("production", models, "second_reranker", JUDGED)
    assert "new" in found.rankings["lexical"]["q1"]


def test_two_models_of_one_name_and_revision_are_refused(tmp_path: Path) -> None:
    """Their scores could not be told from one another."""
    corpus = write_shop(tmp_path)["collect"]
    same = write_export(tmp_path / "same", "pair-minilm-l3") / "onnx"
    other = write_export(tmp_path / "other", "pair-minilm-l3") / "onnx"
    told = json.loads((other / "contract.json").read_text())
    (other / "contract.json").write_text(json.dumps(told | {"weight": 0.5}))
    with opened(tmp_path, corpus) as found:
        first = found.contract("second_reranker", "pair-minilm-l3")
        assert found.contract("second_reranker", str(same)) == first
        with pytest.raises(ModelError, match="needs a revision of its own"):
            found.contract("second_reranker", str(other))
