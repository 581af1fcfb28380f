"""The stage publish: to a registry and to a sidecar that serves from it, once; refusals."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.config import RegistryConfig
from sidecar.errors import ConfigurationError, InputFileError, ModelRefusedError
from sidecar.models.hub import CARRIED
from sidecar.storage.registry import Registry, open_registry
from training.config import FineTuneConfig, PublishConfig, SidecarConfig, TrainingConfig
from training.serving.client import SidecarClient
from training.serving.models import files_of, serving_models
from training.serving.private import private_sidecar
from training.stage import Work
from training.stages import publish

from .works import work_for

NEEDS = ("reranker/export", "reranker/evaluate", "reranker/gate")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run's folder after the gate has accepted: its export is the carried reranker."""
    export = tmp_path / "run" / "reranker" / "export"
    shutil.copytree(CARRIED / "pair-minilm-l3", export / "onnx")
    (export / "export.json").write_text('{"serves": "onnx"}')
    judge(tmp_path / "run", "accepted")
    outputs = {"export.json": "0" * 64}
    told = {"key": "k", "inputs": {"collect": "c"}, "reads": {}, "outputs": outputs}
    told |= {"seed": 3, "code": {}}
    # A file from outside: nothing of the run, though it has a path.
    corpus = tmp_path / "corpus.jsonl"
    corpus.touch()
    collected = told | {"inputs": {}, "reads": {str(corpus): "f" * 64}}
    for place, manifest in (("reranker/export", told), ("collect", collected)):
        (tmp_path / "run" / place).mkdir(exist_ok=True)
        (tmp_path / "run" / place / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path / "run"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """One that has a version, which is production."""
    made = open_registry(RegistryConfig(str(tmp_path / "registry")), tmp_path)
    made.publish(CARRIED / "pair-minilm-l3", "ranker")
    made.move_aliases("ranker", {"production": "1"}, {})
    return made


def judge(root: Path, verdict: str) -> None:
    (root / "reranker" / "gate").mkdir(parents=True, exist_ok=True)
    told = {"verdict": verdict, "reason": "nDCG@10 0.40 against 0.39"}
    (root / "reranker" / "gate" / "verdict.json").write_text(json.dumps(told))


def config(root: Path, to: str, address: str = "") -> TrainingConfig:
    told = PublishConfig(registry=str(root.parent / "registry"), reranker="ranker", to=to)
    return TrainingConfig(sidecar=SidecarConfig(address, "things"), publish=told)


def work(root: Path, to: str, address: str = "") -> Work:
    return work_for("reranker/publish", root, config(root, to, address), NEEDS)


@pytest.fixture
def sidecar(registry: Registry, tmp_path: Path) -> Iterator[str]:
    """The address of one that serves from the registry."""
    settings = {
        "runtime": {"runtime": "onnxruntime", "precision": "fp32", "threads": 1},
        "registry": {"url": str(tmp_path / "registry")},
    }
    models = {"second_reranker": "registry:ranker"}
    with private_sidecar(tmp_path / "data", models, tmp_path / "log", settings) as address:
        yield address


def test_a_canary_and_then_production_by_the_sidecar_that_runs(
    root: Path, registry: Registry, sidecar: str
) -> None:
    figures = publish.run(work(root, "canary", sidecar))
    published = json.loads((root / "reranker" / "publish" / "published.json").read_text())
    assert figures["published"] == "ranker 2"
    assert (published["version"], published["to"]) == ("2", "canary")
    phases = [phase for phase, _ in published["phases"]]
    assert phases[-1] == "flipped"
    assert "checking" in phases
    assert published["aliases"] == {"production": "1", "canary": "2"}
    serving = serving_models(sidecar, 10.0)["second_reranker"]
    assert (serving.version, serving.canary_revision) == ("1", published["revision"])
    origin = registry.describe("ranker", "2").contract["origin"]
    assert (origin["seed"], origin["run"]) == ("3", "run")
    assert json.loads(origin["read"]) == {"corpus.jsonl": "f" * 64}
    assert json.loads(origin["stages"]) == {"reranker/export": "k", "collect": "k"}

    # A canary is in the way of what is to serve all: nothing changes, and it says so.
    with pytest.raises(ModelRefusedError, match="canary"):
        publish.run(work(root, "production", sidecar))
    assert registry.aliases("ranker") == {"production": "1", "canary": "2"}
    assert [each.version for each in registry.versions("ranker")] == ["2", "1"]


def test_production_at_once_and_the_files_that_serve(
    root: Path, registry: Registry, sidecar: str
) -> None:
    publish.run(work(root, "production", sidecar))
    again = publish.run(work(root, "production", sidecar))
    assert again["published"] == "ranker 2"
    assert registry.aliases("ranker") == {"production": "2", "previous": "1"}
    serving = serving_models(sidecar, 10.0)["second_reranker"]
    assert serving.version == "2"
    assert files_of(sidecar, "ranker", "2", 10.0) == registry.describe("ranker", "2").files
    with SidecarClient(sidecar) as client:
        scores = client.rerank("boil water", {"a": "a kettle boils water", "b": "wool socks"})
    assert list(scores) == ["a", "b"]


def test_what_the_sidecar_does_not_take_changes_nothing(
    root: Path, registry: Registry, sidecar: str
) -> None:
    # Only a model that is served by its name in the registry can be exchanged.
    first = dataclasses.replace(
        config(root, "canary", sidecar),
        reranker=FineTuneConfig(loss="listwise_softmax", role="first_reranker"),
    )
    with pytest.raises(ConfigurationError, match=r'first_reranker\.model = "registry:ranker"'):
        publish.run(work_for("reranker/publish", root, first, NEEDS))
    assert [each.version for each in registry.versions("ranker")] == ["1"]

    # A version has to score its golden pairs as its contract says.
    contract = root / "reranker" / "export" / "onnx" / "contract.json"
    tree = json.loads(contract.read_text())
    for pair in tree["golden_pairs"]:
        pair["score"] = -pair["score"]
    contract.write_text(json.dumps(tree))
    with pytest.raises(ModelRefusedError, match=r"does not take it: .*golden"):
        publish.run(work(root, "production", sidecar))
    assert registry.aliases("ranker") == {"production": "1"}
    assert serving_models(sidecar, 10.0)["second_reranker"].version == "1"


def test_aliases_move_where_no_sidecar_runs(root: Path, registry: Registry) -> None:
    publish.run(work(root, "version"))
    assert registry.aliases("ranker") == {"production": "1"}
    publish.run(work(root, "canary"))
    assert registry.aliases("ranker") == {"production": "1", "canary": "2"}
    publish.run(work(root, "production"))
    assert registry.aliases("ranker") == {"production": "2", "previous": "1"}
    published = json.loads((root / "reranker" / "publish" / "published.json").read_text())
    assert "no sidecar has checked ranker 2" in published["warnings"][0]
    assert [each.version for each in registry.versions("ranker")] == ["2", "1"]
    (root / "reranker" / "export" / "onnx" / "README.md").write_text("another model")
    assert publish.run(work(root, "version"))["published"] == "ranker 3"


def test_what_was_refused_is_published_nowhere(root: Path, registry: Registry) -> None:
    judge(root, "refused")
    figures = publish.run(work(root, "production"))
    assert figures["published"] == "nothing"
    assert "nDCG@10 0.40 against 0.39" in figures["why"]
    assert [each.version for each in registry.versions("ranker")] == ["1"]
    assert not (root / "reranker" / "publish" / "published.json").exists()
    (root / "reranker" / "gate" / "verdict.json").write_text("{}")
    with pytest.raises(InputFileError, match=r"verdict\.json"):
        publish.run(work(root, "production"))


def test_without_a_registry_nothing_is_published(root: Path) -> None:
    told = dataclasses.replace(config(root, "canary"), publish=PublishConfig())
    figures = publish.run(work_for("reranker/publish", root, told, NEEDS))
    assert figures == {"published": "nothing", "why": "publish.registry names no registry"}
