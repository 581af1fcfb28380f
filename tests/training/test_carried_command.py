"""`python -m training.carried models`, end to end on two tiny sets and a random base."""

import dataclasses
import json

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")
pytest.importorskip("transformers", reason="needs the [train] extra: make test-training")

from scoring import scores_of

from sidecar.config import RerankerConfig, RuntimeConfig
from sidecar.models.load import load_cross_encoder
from training.carried import run as stages
from training.carried.collect import read_corpus
from training.carried.places import Places
from training.carried.recipe import Recipe
from training.carried.train import Plan

from .tiny import write_base, write_set

FIXED = RuntimeConfig(runtime="onnxruntime", precision="fp32", threads=1)
SETS = ("scifact", "esci_us_small")
RECIPE = dataclasses.replace(
    Recipe(),
    made=dict.fromkeys(SETS, 12),
    candidates=12,
    list_size=4,
    judged_rounds=dict.fromkeys(SETS, 1),
    layers=2,
    first_depth=8,
    second_depth=4,
    distil=Plan(steps=2, shares=(2,), bfloat16=False),
    refine=Plan(steps=2, shares=(1, 1, 1, 1, 1), bfloat16=False),
)


@pytest.fixture
def places(tmp_path, monkeypatch):
    write_base(tmp_path / "base")
    for name in SETS:
        write_set(tmp_path / "data" / name)
    # Reading all of Python's documentation takes half a minute and is tested by itself.
    monkeypatch.setattr(
        stages, "collect", lambda data: [one for n in SETS for one in read_corpus(data / n)]
    )
    return Places(tmp_path / "data", tmp_path / "base", tmp_path / "work", tmp_path / "out")


def test_from_documents_to_models_that_the_sidecar_serves(places):
    said: list[str] = []
    stages.run(places, RECIPE, seed=1, say=said.append)
    assert {folder.name for folder in places.out.iterdir()} == {
        stages.BI_ENCODER,
        stages.FIRST,
        stages.SECOND,
    }
    for name in (stages.FIRST, stages.SECOND):
        contract = json.loads((places.out / name / "contract.json").read_text())
        model = load_cross_encoder(
            RerankerConfig(model=str(places.out / name)), FIXED, places.work / "serving"
        )
        assert model is not None
        for pair in contract["golden_pairs"]:
            (score,) = scores_of(model, pair["query"], [pair["passage"]])
            assert score == pytest.approx(pair["score"], abs=1e-4)


def test_a_run_that_was_cut_short_goes_on(places):
    stages.run(places, RECIPE, seed=1, say=lambda line: None)
    before = places.network.read_bytes()
    places.weights.unlink()
    said: list[str] = []
    stages.run(places, RECIPE, seed=2, say=said.append)
    assert any(line.startswith("train:") for line in said)
    assert places.weights.exists()
    assert places.network.read_bytes() == before
