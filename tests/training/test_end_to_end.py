"""The whole way at its smallest: users at a running sidecar, their log, a training that is killed
and goes on, the gate, and the models that the sidecar then serves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from sidecar_process import environment, run_sidecar, serving

from sidecar.config import RegistryConfig
from sidecar.storage.registry import open_registry
from training.__main__ import main
from training.exporting.contract_file import contract_of, write_contract
from training.exporting.dev_pairs import pair_values
from training.exporting.encoder_graph import build_graph, with_stored
from training.exporting.folders import write_onnx
from training.fine_tuning.opening import open_base
from training.serving.client import SidecarClient
from training.serving.models import serving_models

from .tiny import WORDS
from .tiny_models import write_encoder

NAMES = {"encoder": "bi-encoder", "second": "cross-encoder"}
DOCUMENTS, QUERIES = 60, 45
WAIT_SECONDS = 300
SIDECAR = """
[bi_encoder]
model = "registry:encoder"
[first_reranker]
model = ""
[second_reranker]
model = "registry:second"
depth = 10
[registry]
url = "{registry}"
[runtime]
runtime = "onnxruntime"
precision = "fp32"
threads = 1
[feedback]
exploration_share = 0.2
"""
TRAINING = """
seed = 3
[sidecar]
address = "{address}"
collection = "shop"
configuration = "{configuration}"
[collect]
feedback = ["{feedback}"]
[propensity]
estimator = "pbm"
[bi_encoder]
max_steps = 10
lists_per_step = 6
learning_rate = 1e-3
evaluations = 6
patience = 0
base_shares = [0.0]
[bi_encoder.mine]
depth = 20
negatives = 3
dev_candidates = 6
[reranker]
max_steps = 8
lists_per_step = 6
learning_rate = 1e-3
evaluations = 2
patience = 0
base_shares = [0.0]
[reranker.mine]
depth = 20
negatives = 3
dev_candidates = 6
[evaluate]
rerank_depth = 10
latency_requests = 4
[gate]  # the models are drawn at random: that they get better is not what is shown here
alpha = 0.999999
least_gain = -1.0
latency_ratio = -1.0
rank_correlation = -1.0
measure_difference = -1.0
[export]
golden_pairs = 4
parity_pairs = 10
[publish]
registry = "{registry}"
bi_encoder = "encoder"
reranker = "second"
to = "production"
"""


@dataclass
class Loop:
    """A sidecar whose users have been logged, and the training's files."""

    folder: Path
    address: str

    @property
    def config(self) -> Path:
        return self.folder / "shop.toml"

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def command(self, *words: str) -> list[str]:
        program = [sys.executable, "-m", "training"]
        return [*program, words[0], str(self.config), "--out", str(self.run), *words[1:]]

    def trained(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`sidecar-train WORDS` to its end."""
        return subprocess.run(
            self.command(*words),
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            env=one_thread(),
        )

    def events(self, place: str) -> list[dict[str, Any]]:
        lines = (self.run / "events.jsonl").read_text().splitlines()
        return [row for row in map(json.loads, lines) if row["stage"] == place]

    def figures(self, place: str) -> dict[str, Any]:
        manifest = json.loads((self.run / place / "manifest.json").read_text())
        figures: dict[str, Any] = manifest["figures"]
        return figures


def one_thread() -> dict[str, str]:
    """Small matrices are not shared among cores that others use as well."""
    return environment(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    judged = write_judged(folder / "set")
    publish_random_models(folder)
    with serving(folder, SIDECAR.format(registry=folder / "registry")) as server:
        users = ["--set", judged, "--split", "train", "--sessions", "150", "--at-once", "4"]
        for words in (
            ["index", judged, "--to", server.address, "--collection", "shop", "--create"],
            ["simulate", *users, "--timeout", "60", "--on", server.address, "--collection", "shop"],
            ["feedback", "roll", "--all", "--data", server.data],
        ):
            done = run_sidecar(*words)
            assert done.returncode == 0, done.stderr
        made = Loop(folder, server.address)
        made.config.write_text(
            TRAINING.format(
                address=server.address,
                configuration=server.config,
                feedback=server.data / "feedback",
                registry=folder / "registry",
            )
        )
        yield made


def write_judged(folder: Path) -> Path:
    """Queries of two words that one title has, and a few others in part."""
    (folder / "qrels").mkdir(parents=True)
    titles = {
        f"d{n}": [WORDS[(n * step + n // 30) % len(WORDS)] for step in (1, 3, 7)]
        for n in range(DOCUMENTS)
    }
    corpus = [
        {"_id": doc_id, "title": " ".join(words), "text": " ".join(reversed(words * 2))}
        for doc_id, words in titles.items()
    ]
    queries = [{"_id": f"q{n}", "text": " ".join(titles[f"d{n}"][:2])} for n in range(QUERIES)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    judgments = [
        f"{query['_id']}\t{doc_id}\t{grade}\n"
        for query in queries
        for doc_id, words in titles.items()
        if (grade := len(set(words) & set(query["text"].split())))
    ]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judgments))
    return folder


def publish_random_models(folder: Path) -> None:
    """Both models as an export writes them, each the first version and in production."""
    registry = open_registry(RegistryConfig(url=str(folder / "registry")), folder)
    pairs = [("tide wave", "wave tide\ndune"), ("crab", "deep cold reef"), ("sail", "rope")]
    for name, kind in NAMES.items():
        write_encoder(folder / name, "bert", kind)
        opened, out = open_base(str(folder / name), kind), folder / f"{name}-exported"
        graph, stored = build_graph(opened.model, opened.spec, opened.tokenizer.model_input_names)
        with_stored(opened.model, stored)
        write_onnx(graph, opened.model, opened.tokenizer, out)
        golden = [(*pair, float(pair_values(opened, [pair])[0])) for pair in pairs]
        width = int(opened.model.config.hidden_size)
        write_contract(out, contract_of(opened.spec, name, width, golden, 0.5, None, {}))
        registry.publish(out, name)
        registry.move_aliases(name, {"production": "1"}, {})


@pytest.fixture(scope="module")
def killed(loop: Loop) -> Loop:
    """A run that was killed while it trained."""
    with subprocess.Popen(
        loop.command("run"), stderr=subprocess.PIPE, text=True, env=one_thread()
    ) as process:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if line.startswith("bi_encoder/train: step"):
                break
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "".join(seen)
    assert not (loop.run / "bi_encoder" / "train" / "manifest.json").exists()
    return loop


@pytest.fixture(scope="module")
def trained(killed: Loop) -> Loop:
    """The same command once more."""
    before = {role: one.version for role, one in serving_models(killed.address, 30).items()}
    assert before == {"bi_encoder": "1", "second_reranker": "1"}
    done = killed.trained("run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["reranker/gate"]["verdict"] == "accepted"
    return killed


def test_a_killed_run_goes_on_where_it_was(trained: Loop) -> None:
    kinds = [row["event"] for row in trained.events("collect")]
    assert kinds == ["begin", "end"]
    kinds = [row["event"] for row in trained.events("bi_encoder/train")]
    assert kinds.count("begin") == 2
    assert kinds.count("end") == 1
    steps = [row["step"] for row in trained.events("bi_encoder/train") if row["event"] == "step"]
    done, of = steps[-1].split("/")
    assert done == of


def test_what_was_learnt_from_is_the_log(trained: Loop) -> None:
    assert trained.figures("collect")["judgments"] == 0
    assert trained.figures("collect")["impressions"] > 150
    assert trained.figures("label")["clicked"] > 0
    assert trained.figures("propensity")["estimator"] == "pbm"


def test_the_sidecar_serves_what_was_published(trained: Loop) -> None:
    found = serving_models(trained.address, 30)
    for role, model in (("bi_encoder", "bi_encoder"), ("second_reranker", "reranker")):
        told = json.loads((trained.run / model / "publish" / "published.json").read_text())
        assert (found[role].version, found[role].revision) == ("2", told["revision"])
    with SidecarClient(trained.address, "shop") as client:
        assert len(client.search("tide wave")) == 10


def test_the_run_explains_a_query(trained: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["explain", str(trained.config), "--out", str(trained.run), "--query"]
    known = json.loads((trained.run / "collect" / "queries.jsonl").read_text().splitlines()[0])
    assert main([*asked, known["query"].upper()]) == 0
    told = capsys.readouterr().out
    assert known["query_id"] in told
    assert f"the log: {known['frequency']} impressions; examination by pbm" in told
    assert main([*asked, "nobody asked this"]) == 2
    assert "the run knows no query" in capsys.readouterr().err


def test_what_the_gate_refuses_is_not_published(trained: Loop) -> None:
    refused = trained.trained(
        "run", "--model", "bi_encoder", "--set", "gate.least_gain=0.99", "--json"
    )
    assert refused.returncode == 10, refused.stderr
    assert "bi_encoder/gate: refused: " in refused.stderr
    figures = json.loads(refused.stdout)
    assert figures["bi_encoder/publish"]["published"] == "nothing"
    assert "bi_encoder/train: done already" in refused.stderr
    assert serving_models(trained.address, 30)["bi_encoder"].version == "2"


def test_status_tells_all_stages(trained: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(trained.config), "--out", str(trained.run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told) == 3 + 2 * 6
    assert None not in told.values()
    assert (trained.run / "reranker" / "evaluate" / "report.html").exists()
