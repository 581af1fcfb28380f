"""The real vLLM, its build for the CPU, started as `sidecar serve --gpu` starts it.

SIDECAR_VLLM_PYTHON is the interpreter that has it (`make test` sets it). The tests run in the order
in which they stand: the last ones stop and kill servers.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.config import BiEncoderConfig, Config, RerankerConfig, RuntimeConfig, VllmConfig
from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.models.hub import CARRIED
from sidecar.models.load import close_model, load_bi_encoder, load_cross_encoder
from sidecar.models.sample_texts import sample_pairs
from sidecar.models.vllm.bi_encoder import VllmBiEncoder
from sidecar.models.vllm.cross_encoder import VllmCrossEncoder
from sidecar.models.vllm.servers import supervised
from sidecar.types import Truncation

ROOT = Path(__file__).parents[3]
PYTHON = os.environ.get("SIDECAR_VLLM_PYTHON", "")
REQUIRED = os.environ.get("SIDECAR_REQUIRE_VLLM") == "1"
FP32 = RuntimeConfig(runtime="onnxruntime", precision="fp32")
TOLERANCE = 1e-3
PAIRS = sample_pairs()[::3]
PATIENCE = VllmConfig(
    start=True,
    python=PYTHON,
    dtype="float32",
    timeout_seconds=20.0,
    health_seconds=0.5,
    health_timeout_seconds=3.0,
    golden_tolerance=TOLERANCE,
    # Of this machine's memory: so much must be free.
    bi_encoder_memory=0.1,
    first_reranker_memory=0.1,
    second_reranker_memory=0.1,
    extra_arguments="--enforce-eager",  # otherwise it compiles, for which it needs a C++ compiler
)

NO_MODELS = Config(
    bi_encoder=BiEncoderConfig(model=""),
    first_reranker=RerankerConfig(),
    second_reranker=RerankerConfig(),
    vllm=PATIENCE,
)

pytestmark = pytest.mark.skipif(
    not PYTHON and not REQUIRED, reason="no vLLM: run `make test`, or set SIDECAR_VLLM_PYTHON"
)


@dataclass
class Real:
    """What is served, and what transformers gives for PAIRS."""

    config: Config
    cross_encoder: VllmCrossEncoder
    decoder: VllmCrossEncoder
    bi_encoder: VllmBiEncoder
    reference: dict[str, Any]

    @property
    def url(self) -> str:
        """The cross-encoder's server."""
        return self.config.first_reranker.vllm_urls

    @property
    def process_id(self) -> int:
        """Of that server: the one that listens on its port, of those that have it as argument."""
        port = self.url.rpartition(":")[2]
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                if port in words and not any(word.endswith("leash.py") for word in words):
                    return int(entry.name)
        raise AssertionError("the server does not run")

    def under_way(self) -> float:
        """Pairs in its engine, by its own metrics."""
        return self._metric("vllm:num_requests_running{", "vllm:num_requests_waiting{")

    def scored(self) -> float:
        """Pairs that it has scored so far."""
        return self._metric("vllm:request_success_total{")

    def _metric(self, *names: str) -> float:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith(names) and '"abort"' not in line]
        assert found, f"it has no {names}"
        return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    assert PYTHON, "SIDECAR_REQUIRE_VLLM is set, but SIDECAR_VLLM_PYTHON is not"
    made = tmp_path_factory.mktemp("vllm")
    for name in ("pair-minilm-l6", "all-minilm-l6-v2"):
        run("-m", "training", "to-transformers", str(CARRIED / name), str(made / name))
        # With the contract come its golden pairs and its budgets.
        (made / name / "contract.json").write_bytes((CARRIED / name / "contract.json").read_bytes())
    asked = {"pairs": PAIRS, "cross_encoder": str(made / "pair-minilm-l6")}
    script = Path(__file__).with_name("reference.py")
    reference = run(str(script), str(made / "qwen3"), sent=json.dumps(asked))
    sections = {
        "bi_encoder": BiEncoderConfig(model=str(made / "all-minilm-l6-v2")),
        "first_reranker": RerankerConfig(model=str(made / "pair-minilm-l6")),
        "second_reranker": RerankerConfig(model=str(made / "qwen3")),
    }
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        config = start_servers(sections, stack)
        first, second = (
            load_cross_encoder(section, config.runtime, made, vllm=config.vllm)
            for section in (config.first_reranker, config.second_reranker)
        )
        bi_encoder = load_bi_encoder(config.bi_encoder, config.runtime, made, config.vllm)
        for model in (first, second, bi_encoder):
            stack.callback(close_model, model)
        assert isinstance(first, VllmCrossEncoder)
        assert isinstance(second, VllmCrossEncoder)
        assert isinstance(bi_encoder, VllmBiEncoder)
        yield Real(config, first, second, bi_encoder, json.loads(reference.splitlines()[-1]))


def start_servers(sections: dict[str, Any], stack: contextlib.ExitStack) -> Config:
    """Each as `serve --gpu` starts it; at the same time, since there is no card to measure here."""
    contexts = [
        supervised(dataclasses.replace(NO_MODELS, **{name: section}))
        for name, section in sections.items()
    ]
    with ThreadPoolExecutor(len(contexts)) as threads:
        starting = [threads.submit(context.__enter__) for context in contexts]
    for context, started in zip(contexts, starting, strict=True):
        if started.exception() is None:
            stack.push(context)
    configs = [started.result() for started in starting]
    with_urls = {name: getattr(one, name) for name, one in zip(sections, configs, strict=True)}
    return dataclasses.replace(NO_MODELS, **with_urls)


def run(*words: str, sent: str = "") -> str:
    """Standard output of the other interpreter."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [PYTHON, *words], input=sent, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def to_pairs(encoder: VllmCrossEncoder, pairs: list[tuple[str, str]] = PAIRS) -> list[Any]:
    return [
        encoder.tokenize(query, [passage], Truncation())[0].pairs[0] for query, passage in pairs
    ]


async def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    """Asks again and again."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.01)


async def back_up(encoder: VllmCrossEncoder, seconds: float) -> np.ndarray:
    """The scores, as soon as the server is up again."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await encoder.score(to_pairs(encoder))
            except ModelUnavailableError:
                await asyncio.sleep(0.2)


async def test_an_encoders_scores_are_those_of_transformers(real: Real) -> None:
    scores = await real.cross_encoder.score(to_pairs(real.cross_encoder))
    assert np.std(scores) > 0.5
    assert np.abs(scores - real.reference["cross_encoder"]).max() < TOLERANCE


async def test_an_encoders_scores_are_those_of_our_own_runtime(real: Real, tmp_path: Path) -> None:
    """Long passages, too: both cut them at the same tokens."""
    local = load_cross_encoder(RerankerConfig(model="pair-minilm-l6"), FP32, tmp_path)
    assert local is not None
    passages = [" ".join(passage for _, passage in PAIRS[start:]) for start in range(6)]
    budgets = Truncation(max_query_tokens=8, max_passage_tokens=100)
    ours = local.tokenize(PAIRS[0][0], passages, budgets)
    theirs = real.cross_encoder.tokenize(PAIRS[0][0], passages, budgets)
    assert [one.token_count for one in ours] == [one.token_count for one in theirs]
    assert all(one.truncated for one in theirs)
    expected = await local.score([pair for one in ours for pair in one.pairs])
    scores = await real.cross_encoder.score([pair for one in theirs for pair in one.pairs])
    close_model(local)
    assert np.abs(scores - expected).max() < TOLERANCE


async def test_a_decoders_scores_are_those_of_transformers(real: Real) -> None:
    pairs = to_pairs(real.decoder)
    scores = await real.decoder.score(pairs)
    assert np.std(scores) > 0.1
    assert np.abs(scores - real.reference["qwen3"]).max() < TOLERANCE
    for pair, count in zip(pairs, real.reference["qwen3_tokens"], strict=True):
        assert count <= pair.length <= count + 60


async def test_vectors_are_those_of_our_own_runtime(real: Real, tmp_path: Path) -> None:
    local = load_bi_encoder(BiEncoderConfig(), FP32, tmp_path)
    assert local is not None
    texts = [passage for _, passage in PAIRS] + [" ".join(passage for _, passage in PAIRS)]
    for encode in ("encode_queries", "encode_passages"):
        theirs = await asyncio.to_thread(getattr(real.bi_encoder, encode), texts)
        assert np.abs(theirs - getattr(local, encode)(texts)).max() < TOLERANCE
    close_model(local)


async def test_scores_hold_whatever_they_are_batched_with(real: Real) -> None:
    assert real.cross_encoder.batch_invariant
    assert real.decoder.batch_invariant


async def test_a_pair_that_is_too_long_is_refused_not_the_server(real: Real) -> None:
    [pair] = to_pairs(real.cross_encoder, [("red", "word")])
    with pytest.raises(ModelError, match="400") as error:
        await real.cross_encoder.score([pair, type(pair)("red", "word " * 600, 604)])
    assert not isinstance(error.value, ModelUnavailableError)
    assert np.isfinite(await real.cross_encoder.score([pair])).all()


async def test_a_cancelled_request_is_aborted_in_the_engine(real: Real) -> None:
    pairs = to_pairs(real.cross_encoder, [(PAIRS[0][0], " ".join(p for _, p in PAIRS))] * 500)
    before = real.scored()
    asking = asyncio.create_task(real.cross_encoder.score(pairs))
    await wait_until(lambda: real.under_way() > 0, 20)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await wait_until(lambda: real.under_way() == 0, 20)
    assert real.scored() - before < 250, "no more than the steps that were being computed"


async def test_a_stopped_server_does_not_block_its_caller(real: Real) -> None:
    os.kill(real.process_id, signal.SIGSTOP)
    try:
        asking = asyncio.create_task(real.cross_encoder.score(to_pairs(real.cross_encoder)))
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking, 0.1)
        assert time.monotonic() - started < 1.0
        with pytest.raises(ModelUnavailableError):
            await real.cross_encoder.score(to_pairs(real.cross_encoder))
        assert time.monotonic() - started < 8.0, "the health check was to notice"
    finally:
        os.kill(real.process_id, signal.SIGCONT)
    scores = await back_up(real.cross_encoder, 30)
    assert np.abs(scores - real.reference["cross_encoder"]).max() < TOLERANCE


async def test_a_killed_server_is_said_at_once_and_started_again(real: Real) -> None:
    asking = asyncio.create_task(real.cross_encoder.score(to_pairs(real.cross_encoder) * 8))
    await wait_until(lambda: real.under_way() > 0, 20)
    os.kill(real.process_id, signal.SIGKILL)
    started = time.monotonic()
    with pytest.raises(ModelUnavailableError):
        await asking
    assert time.monotonic() - started < 2.0
    scores = await back_up(real.cross_encoder, 300)
    assert np.abs(scores - real.reference["cross_encoder"]).max() < TOLERANCE
