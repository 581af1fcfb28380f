"""Who takes part in `cpu_runtimes.py`: each loads once and scores requests when it is asked to."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from sidecar.config import RerankerConfig
from sidecar.models.cross_encoder import LocalCrossEncoder
from sidecar.models.load import OpenedModel
from sidecar.models.machine import read_machine
from sidecar.models.onnx_runtime import OnnxRuntime
from sidecar.models.openvino_runtime import OpenVinoRuntime
from sidecar.models.runtime import Choice
from sidecar.rerank.reranker import Reranker
from sidecar.types import Stage

Request = tuple[str, list[str]]
Scored = tuple[float, list[list[float]]]  # seconds, scores of each request
PEERS = Path(__file__).with_name("cpu_peers.py")
VLLM_START_SECONDS = 600.0


class Contestant(Protocol):
    """One row of the table. `spins`: it keeps a core busy for a while after an answer."""

    name: str
    precision: str
    load_seconds: float
    versions: dict[str, str]
    spins: bool

    def score(self, requests: list[Request]) -> Scored:
        """Scores all requests, which come at the same time."""

    def close(self) -> None:
        """Ends it."""


class Sidecar:
    """A reranker of the sidecar, as it serves, on one runtime."""

    spins = False

    def __init__(self, name: str, model: OpenedModel, choice: Choice, path: Path) -> None:
        self.name, self.precision, self.versions = f"sidecar {name}", choice.precision, {}
        started = time.perf_counter()
        maker = OnnxRuntime if choice.runtime == "onnxruntime" else OpenVinoRuntime
        self._runtime = maker(path, choice, read_machine().threads)
        self.load_seconds = time.perf_counter() - started
        encoder = LocalCrossEncoder(model.contract, model.tokenizer, self._runtime)
        self._reranker = Reranker(Stage.FIRST_RERANK, encoder, RerankerConfig(model=name))

    def score(self, requests: list[Request]) -> Scored:
        """All at once on one event loop."""

        async def ask() -> Any:
            return await asyncio.gather(*(self._reranker.score(q, ps) for q, ps in requests))

        started = time.perf_counter()
        answers = asyncio.run(ask())
        seconds = time.perf_counter() - started
        return seconds, [[pair.score for pair in answer] for answer in answers]

    def close(self) -> None:
        """Ends its threads."""
        self._reranker.close()
        self._runtime.close()


class PeerWorker:
    """`cpu_peers.py` under another interpreter."""

    spins = False

    def __init__(self, name: str, precision: str, python: str, arguments: list[str]) -> None:
        self.name, self.precision = name, precision
        self._process = subprocess.Popen(
            [python, str(PEERS), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=offline(),
        )
        loaded = self._read()
        self.load_seconds, self.versions = loaded["load_seconds"], loaded["versions"]

    def score(self, requests: list[Request]) -> Scored:
        """One after the other: it has no batcher."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        return answer["seconds"], answer["scores"]

    def close(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.wait()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended: run {self._process.args} by hand to see why")
        return dict(json.loads(line))


class VllmServer:
    """vLLM's own server on all cores, asked over HTTP by as many clients as there are requests."""

    spins = True

    def __init__(
        self,
        name: str,
        precision: str,
        python: str,
        folder: Path,
        scratch: Path,
        preload: Sequence[str] = (),
    ) -> None:
        self.name, self.precision = name, precision
        self._folder = with_plain_logits(folder, scratch / f"vllm-{precision}")
        self._url = f"http://127.0.0.1:{free_port()}"
        started = time.perf_counter()
        dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
        command = [python, "-m", "vllm.entrypoints.openai.api_server"]
        options = {
            "--model": str(self._folder),
            "--served-model-name": "model",
            "--runner": "pooling",
            "--dtype": dtype,
            "--host": "127.0.0.1",
            "--port": self._url.rpartition(":")[2],
        }
        cores = f"0-{read_machine().threads - 1}"
        environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": cores}
        if preload:
            environment["LD_PRELOAD"] = ":".join(preload)
        self._log = (scratch / f"vllm-{precision}.log").open("w+")
        self._process = subprocess.Popen(
            [*command, *(word for option in options.items() for word in option)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**offline(), **environment},
        )
        self._wait_ready()
        self.load_seconds = time.perf_counter() - started
        shown = subprocess.run(
            [python, "-c", "import importlib.metadata as m; print(m.version('vllm-cpu'))"],
            capture_output=True,
            text=True,
        )
        self.versions = {"vllm-cpu": shown.stdout.strip()}

    def score(self, requests: list[Request]) -> Scored:
        """Each request from a client of its own."""
        with ThreadPoolExecutor(len(requests)) as clients:
            started = time.perf_counter()
            scores = list(clients.map(self._ask, requests))
            return time.perf_counter() - started, scores

    def close(self) -> None:
        """Ends the server."""
        self._process.terminate()
        self._process.wait()
        self._log.close()

    def _ask(self, request: Request) -> list[float]:
        query, passages = request
        body = {"model": "model", "text_1": query, "text_2": passages}
        asked = urllib.request.Request(
            f"{self._url}/score",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked) as answer:
            scored = json.load(answer)["data"]
        return [one["score"] for one in sorted(scored, key=lambda one: one["index"])]

    def _wait_ready(self) -> None:
        end = time.monotonic() + VLLM_START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self._url}/health"):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        self._log.seek(0)
        last_words = self._log.read()[-3000:]
        self.close()
        raise SystemExit(f"{self.name} does not start:\n{last_words}")


def ask_peer(python: str, *arguments: str, sent: Any = None) -> dict[str, Any]:
    """The one answer of a command of `cpu_peers.py`."""
    done = subprocess.run(
        [python, str(PEERS), *arguments],
        input=json.dumps(sent),
        capture_output=True,
        text=True,
        env=offline(),
    )
    if done.returncode:
        raise SystemExit(f"{PEERS.name} {arguments[0]} failed:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def with_plain_logits(folder: Path, copy: Path) -> Path:
    """A copy whose configuration asks for no activation, so that scores compare with logits."""
    shutil.copytree(folder, copy)
    path = copy / "config.json"
    config = json.loads(path.read_text())
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    path.write_text(json.dumps(config))
    return copy


def offline() -> dict[str, str]:
    """The environment, with hub clients kept from asking."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
