"""What serves is held against what production was measured with."""

from __future__ import annotations

import pytest

from sidecar.config import Config
from sidecar.errors import SidecarError
from training.config import SidecarConfig
from training.evaluation import servers
from training.evaluation.lineup import CANDIDATE, PRODUCTION, Lineup
from training.evaluation.running import Measured
from training.evaluation.servers import reason_not_to_time, served_otherwise
from training.evaluation.system_run import SystemRun
from training.models.production import Models
from training.serving.models import ServingModel

RUNNING = SidecarConfig(address="127.0.0.1:1", collection="shop")
MODELS = {"dense": "mini@1", "first_rerank": "small@2", "second_rerank": "large@3"}
MEASURED = Measured({PRODUCTION: SystemRun({}, {}, MODELS)}, {}, {}, {}, ())


def serving(**revisions: str):
    roles = {"bi_encoder": "mini", "first_reranker": "small", "second_reranker": "large"}
    return lambda address, timeout: {
        role: ServingModel(role, name, revisions[name], "", "", "") for role, name in roles.items()
    }


def told(monkeypatch: pytest.MonkeyPatch, found) -> list[str]:
    monkeypatch.setattr(servers, "serving_models", found)
    return list(served_otherwise(RUNNING, MEASURED))


def test_the_same_models_need_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, serving(mini="1", small="2", large="3")) == []
    assert list(served_otherwise(SidecarConfig(), MEASURED)) == []


def test_another_revision_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    [sentence] = told(monkeypatch, serving(mini="1", small="2", large="4"))
    assert "serves large@4 as second_reranker" in sentence
    assert "measured with large@3: name its configuration in sidecar.configuration" in sentence


def test_a_sidecar_that_does_not_answer_ends_no_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(address, timeout):
        raise SidecarError("nobody there")

    assert told(monkeypatch, gone) == [
        "What serves could not be asked of 127.0.0.1:1: nobody there"
    ]


def test_encoders_can_be_timed() -> None:
    carried = Models("all-minilm-l6-v2", "", "pair-minilm-l6")
    named = Lineup("second_reranker", Config(), {PRODUCTION: carried, CANDIDATE: carried})
    assert reason_not_to_time(named) == ""
