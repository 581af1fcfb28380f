"""`sidecar models` and a server process with carried models of a registry: exchanged under load,
killed in the middle."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sidecar_process import Serving, environment, run_sidecar, serving

from sidecar.models.hub import CARRIED
from sidecar.v1 import model_pb2, model_pb2_grpc, ranking_pb2, rerank_pb2, rerank_pb2_grpc

# One runtime: nothing is measured, so a start takes seconds.
CONFIGURATION = """
[bi_encoder]
model = ""
[first_reranker]
model = ""
[second_reranker]
model = "registry:second"
[runtime]
runtime = "onnxruntime"
precision = "fp32"
[registry]
url = "{registry}"
"""
REQUEST = rerank_pb2.RerankRequest(
    query="how to boil water",
    candidates=[
        rerank_pb2.Candidate(doc_id="a", text="An electric kettle boils water in two minutes."),
        rerank_pb2.Candidate(doc_id="b", text="Wool socks keep feet warm."),
    ],
    options=ranking_pb2.RankingOptions(cache=ranking_pb2.CACHE_POLICY_BYPASS),
)


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """The carried model in two versions, of which the first is production."""
    folder = tmp_path / "registry"
    for flags in (["--production"], []):
        done = run_sidecar(
            *("models", "publish", CARRIED / "pair-minilm-l3", "second"),
            *("--registry", folder, *flags),
        )
        assert done.returncode == 0, done.stderr
    return folder


@contextlib.contextmanager
def served(tmp_path: Path, registry: Path) -> Iterator[Serving]:
    with serving(tmp_path, CONFIGURATION.format(registry=registry)) as process:
        yield process


def ask(channel: grpc.Channel) -> str:
    """The revision that answers."""
    ranking = rerank_pb2_grpc.RerankServiceStub(channel).Rerank(REQUEST, timeout=30).ranking
    assert [hit.doc_id for hit in ranking.hits] == ["a", "b"]
    assert not ranking.degraded
    return next(r.model_revision for r in ranking.stages if r.stage == ranking.stage)


class Load:
    """Callers that ask one request after the other, and the revisions that each was answered by."""

    def __init__(self, address: str, callers: int = 3) -> None:
        self.revisions: list[list[str]] = [[] for _ in range(callers)]
        self.errors: list[Exception] = []
        self._address = address
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(seen,)) for seen in self.revisions
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, seen: list[str]) -> None:
        with grpc.insecure_channel(self._address) as channel:
            while not self._stop.is_set():
                try:
                    seen.append(ask(channel))
                except Exception as error:
                    self.errors.append(error)


def without_repeats(revisions: list[str]) -> list[str]:
    return [revision for revision, _ in itertools.groupby(revisions)]


def models(process: Serving, *words: str) -> subprocess.CompletedProcess[str]:
    return run_sidecar("models", *words, "--on", process.address)


def aliases(registry: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((registry / "second" / "aliases.json").read_text())
    return found


def test_versions_are_exchanged_under_load_without_a_failed_call(
    tmp_path: Path, registry: Path
) -> None:
    with served(tmp_path, registry) as process:
        with Load(process.address) as load:
            steps = [
                models(process, "activate", "second", "2"),
                models(process, "rollback", "second"),
                models(process, "canary", "second", "2", "--share", "0"),
                models(process, "promote", "second"),
            ]
            listed = models(process, "list")
            silent = models(process, "canary", "second", "1")
        compared = models(process, "compare", "second")
        weights = registry / "second" / "versions" / "1" / "model.onnx"
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
        refused = models(process, "rollback", "second")
        with grpc.insecure_channel(process.address) as channel:
            last = ask(channel)
    assert [(step.returncode, step.stderr) for step in steps] == [(0, "")] * len(steps)
    assert (silent.returncode, "give --share or --interleaved" in silent.stderr) == (2, True)
    assert load.errors == []
    one, two = (f"{number}-fd7c90fe" for number in (1, 2))
    for seen in load.revisions:
        assert without_repeats(seen) == [one, two, one, two]
    assert steps[0].stdout.splitlines()[-1] == "second 2: it serves"
    assert f"second reranker: pair-minilm-l3 {two} (second)" in listed.stdout
    assert "production" in listed.stdout
    assert (compared.returncode, "no canary" in compared.stderr) == (1, True)
    assert refused.returncode == 1
    assert "version 1 of second is refused: its model.onnx is not the one" in refused.stderr
    assert (last, aliases(registry)) == (two, {"production": "2", "previous": "1"})


def test_a_server_killed_between_flip_and_alias_comes_back_with_what_the_alias_says(
    tmp_path: Path, registry: Path
) -> None:
    with served(tmp_path, registry) as process, (registry / "second" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "sidecar", "models", "activate", "second", "2"]
        with subprocess.Popen(
            [*command, "--on", process.address], stderr=subprocess.DEVNULL, env=environment()
        ) as changing:
            wait_for_version(process.address, "2")
            process.process.kill()
            process.process.wait()
            assert changing.wait(60) == 1
        assert aliases(registry) == {"production": "1"}
    with (
        served(tmp_path, registry) as process,
        grpc.insecure_channel(process.address) as channel,
    ):
        assert ask(channel) == "1-fd7c90fe"
        assert models(process, "activate", "second", "2").returncode == 0
        assert ask(channel) == "2-fd7c90fe"
    assert aliases(registry) == {"production": "2", "previous": "1"}


def wait_for_version(address: str, version: str) -> None:
    """Returns once it serves."""
    with grpc.insecure_channel(address) as channel:
        stub = model_pb2_grpc.ModelServiceStub(channel)
        end = time.monotonic() + 60
        while stub.ListModels(model_pb2.ListModelsRequest()).models[0].version != version:
            assert time.monotonic() < end


def test_mistakes_are_told_in_a_sentence(tmp_path: Path, registry: Path) -> None:
    again = run_sidecar(
        *("models", "publish", CARRIED / "pair-minilm-l3", "second"),
        *("--registry", registry, "--version", "2"),
    )
    nowhere = run_sidecar("models", "publish", CARRIED / "pair-minilm-l3", "second")
    no_model = run_sidecar("models", "publish", tmp_path, "second", "--registry", registry)
    assert (again.returncode, "versions never change" in again.stderr) == (2, True)
    assert (nowhere.returncode, "--registry" in nowhere.stderr) == (2, True)
    assert (no_model.returncode, "contract.json" in no_model.stderr) == (1, True)
