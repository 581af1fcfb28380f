"""A sidecar of training's own, and what its client hears: against the parts asked directly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.commands.connection import RefusedError
from sidecar.errors import ModelError, SidecarError
from sidecar.types import to_passage
from training.serving.client import SidecarClient
from training.serving.models import activate, serving_models
from training.serving.private import private_sidecar

# One runtime, so that nothing is measured and a start takes seconds.
QUICK = {"runtime": {"runtime": "onnxruntime", "precision": "fp32", "threads": 1}}
MODELS = {"bi_encoder": "all-minilm-l6-v2", "second_reranker": "pair-minilm-l3"}
ROWS = [
    {"_id": "kettle", "title": "Electric kettle", "text": "Boils water in two minutes."},
    {"_id": "socks", "title": "Wool socks", "text": "Keep feet warm."},
    {"_id": "pan", "title": "", "text": "A pan of iron for boiling and frying."},
    {"_id": "lamp", "title": "Reading lamp", "text": ""},
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarClient]:
    folder = tmp_path_factory.mktemp("sidecar")
    with (
        private_sidecar(folder / "of its own", MODELS, folder / "log", QUICK) as address,
        SidecarClient(address, "things") as client,
    ):
        assert client.index(ROWS) == len(ROWS)
        yield client


def test_recall_gives_the_scores_of_the_legs(client: SidecarClient) -> None:
    queries = ["boil water", "warm feet"]
    found = client.recall(queries, 3)
    assert list(found) == queries
    assert [each.rank for each in found["boil water"]] == [1, 2, 3]
    best = found["boil water"][0]
    assert (best.doc_id, found["warm feet"][0].doc_id) == ("kettle", "socks")
    lexical = [each.lexical for each in found["boil water"] if each.lexical is not None]
    assert lexical
    assert lexical == sorted(lexical, reverse=True)
    assert all(each.dense is not None and -1 <= each.dense <= 1 for each in found["warm feet"])
    # Reciprocal ranks: first in both legs.
    assert best.score == pytest.approx(2 / 61)


def test_documents_come_as_their_passages_are_read(client: SidecarClient) -> None:
    rows = list(client.documents(["lamp", "missing", "kettle", "pan"]))
    assert [row["_id"] for row in rows] == ["lamp", "kettle", "pan"]
    assert rows == [row for name in ("lamp", "kettle", "pan") for row in ROWS if row["_id"] == name]


def test_logits_are_of_the_stage_that_was_asked(client: SidecarClient) -> None:
    passages = {row["_id"]: to_passage([row["title"], row["text"]]) for row in ROWS}
    scores = client.rerank("boil water", passages)
    assert list(scores) == sorted(scores, key=lambda doc_id: -scores[doc_id])
    assert set(scores) == set(passages)
    assert next(iter(scores)) == "kettle"
    with pytest.raises(SidecarError, match="first_reranker"):
        client.rerank("boil water", passages, "first_reranker")
    with pytest.raises(ModelError, match="3 of 4 passages"):
        client.rerank("boil water", passages | {"socks": ""})


def test_a_search_is_the_whole_ranking(client: SidecarClient) -> None:
    assert [hit.doc_id for hit in client.search("boil water", 1)] == ["kettle"]


def test_models_are_told_and_a_refusal_has_its_reason(client: SidecarClient) -> None:
    serving = serving_models(client.address, 10.0)
    assert {role: model.name for role, model in serving.items()} == MODELS
    assert serving["second_reranker"].registry_model == ""
    with pytest.raises(SidecarError, match="registry"):
        list(activate(client.address, "pair-minilm-l3", "1"))


def test_mistakes_are_told_in_a_sentence(client: SidecarClient) -> None:
    with SidecarClient(client.address, "nothing") as other:
        with pytest.raises(RefusedError, match="'nothing' does not exist"):
            other.recall(["water"], 3)
        with pytest.raises(RefusedError, match="'nothing' does not exist"):
            list(other.documents(["a"]))
    with (
        SidecarClient("127.0.0.1:1", "things") as nobody,
        pytest.raises(SidecarError, match=r"no sidecar answers on 127\.0\.0\.1:1"),
    ):
        nobody.recall(["water"], 3)


def test_a_sidecar_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(ModelError, match="did not come up") as error,
        private_sidecar(tmp_path / "data", {"bi_encoder": tmp_path / "no"}, tmp_path / "log"),
    ):
        pass
    assert str(tmp_path / "no") in error.value.message
    with (
        pytest.raises(ValueError, match="reranker"),
        private_sidecar(tmp_path / "data", {"reranker": ""}, tmp_path / "log"),
    ):
        pass
