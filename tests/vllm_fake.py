"""A server that speaks as vLLM does and fails as it is told to, on the test's own event loop."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from sidecar.config import VllmConfig
from sidecar.models.contract import ModelContract
from sidecar.models.hub import CARRIED
from sidecar.models.vllm.cross_encoder import VllmCrossEncoder
from sidecar.models.vllm.folder import ServedFolder

QUICK = VllmConfig(
    attach_seconds=5.0, timeout_seconds=5.0, health_seconds=0.02, health_timeout_seconds=2.0
)
GOLDEN = (("red shoes", "red shoes for running"), ("red shoes", "a blue hat"), ("hat", "a hat"))
DIMENSIONS = 8


def logit(query: str, passage: str) -> float:
    """What the fake model gives a pair: 3 for each word in common, less a tenth for each word."""
    common = set(query.split()) & set(passage.split())
    return 3.0 * len(common) - 0.1 * len(passage.split())


def vector(ids: Sequence[int]) -> np.ndarray:
    """What the fake model gives a text: its tokens in a few boxes, not normalised."""
    return np.bincount(np.array(ids) % DIMENSIONS, minlength=DIMENSIONS).astype(np.float32)


class FakeVllm:
    """One server; change its attributes to make it fail."""

    def __init__(self, max_model_len: int = 512) -> None:
        self.max_model_len = max_model_len
        self.status = 200  # of /score and /v1/embeddings
        self.page = ""  # instead of JSON, with that status
        self.health = 200
        self.poison = ""  # 400 for a request with this word
        self.offset = 0.0  # added to every score
        self.together = 0.0  # added to every score of a request of several pairs
        self.scores: list[Any] | None = None  # given instead of the pairs'
        self.breaks = False  # closes the connection amid its answer
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()
        self.health_gate = asyncio.Event()
        self.health_gate.set()
        self.arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()  # bodies of requests
        self.aborted = asyncio.Event()  # a caller closed its connection before the answer
        self.authorization = ""  # of the last request
        self.takes_adapters = True
        self.adapters: dict[str, float] = {}  # what they add to a score, by name
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it is, running or not."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Serves, again on the same port after a `stop`."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/score", self._score)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/load_lora_adapter", self._load_adapter)
        app.router.add_post("/v1/unload_lora_adapter", self._unload_adapter)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Closes its port and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def requests(self) -> list[dict[str, Any]]:
        """Bodies of the requests since the last call."""
        return [self.arrived.get_nowait() for _ in range(self.arrived.qsize())]

    async def _health(self, _: web.Request) -> web.Response:
        await self.health_gate.wait()
        return web.Response(status=self.health)

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "fake", "max_model_len": self.max_model_len}]})

    async def _score(self, request: web.Request) -> web.StreamResponse:
        asked = await self._take(request)
        pairs = list(zip(asked["queries"], asked["documents"], strict=True))
        if self.poison and any(self.poison in passage.split() for _, passage in pairs):
            return _error(400, "the poison is in it")
        extra = self.offset + (self.together if len(pairs) > 1 else 0.0)
        extra += self.adapters.get(asked["model"], 0.0)
        scores = self.scores or [logit(query, passage) + extra for query, passage in pairs]
        rows = [{"index": number, "score": score} for number, score in enumerate(scores)]
        return await self._answer(request, {"data": rows[::-1]})

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        asked = await self._take(request)
        rows = [
            {"index": number, "embedding": base64.b64encode(vector(ids).tobytes()).decode()}
            for number, ids in enumerate(asked["input"])
        ]
        return await self._answer(request, {"data": rows[::-1]})

    async def _load_adapter(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if not self.takes_adapters:
            return _error(404, "Not Found")
        if asked["lora_name"] in self.adapters:
            return _error(400, f"The lora adapter '{asked['lora_name']}' has already been loaded.")
        content = (Path(asked["lora_path"]) / "adapter_config.json").read_text()
        self.adapters[asked["lora_name"]] = json.loads(content)["adds"]
        return web.Response(text="Success: it is loaded")

    async def _unload_adapter(self, request: web.Request) -> web.Response:
        del self.adapters[(await request.json())["lora_name"]]
        return web.Response(text="Success: it is removed")

    async def _take(self, request: web.Request) -> dict[str, Any]:
        asked: dict[str, Any] = await request.json()
        self.authorization = request.headers.get("Authorization", "")
        self.arrived.put_nowait(asked)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.aborted.set()
            raise
        return asked

    async def _answer(self, request: web.Request, body: Any) -> web.StreamResponse:
        if self.page:
            return web.Response(status=self.status, text=self.page, content_type="text/html")
        if self.status != 200:
            return _error(self.status, f"status {self.status} was asked for")
        if self.breaks:
            answer = web.StreamResponse(headers={"Content-Length": "1000"})
            await answer.prepare(request)
            await answer.write(b'{"data": [')
            assert request.transport is not None
            request.transport.close()
            return answer
        return web.json_response(body)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status)


@contextlib.asynccontextmanager
async def serving_fakes(*fakes: FakeVllm) -> AsyncIterator[None]:
    """The fakes serve."""
    try:
        for fake in fakes:
            await fake.start()
        yield
    finally:
        for fake in fakes:
            fake.gate.set()
            fake.health_gate.set()
            await fake.stop()


def fake_folder(**changes: Any) -> ServedFolder:
    """A cross-encoder's folder: a real tokenizer, and golden pairs of the fake model."""
    golden = tuple((query, passage, logit(query, passage)) for query, passage in GOLDEN)
    fields: dict[str, Any] = {
        "name": "fake",
        "kind": "cross-encoder",
        "revision": "1",
        "golden_pairs": golden,
        **changes,
    }
    return ServedFolder(
        CARRIED / "pair-minilm-l6", ModelContract(**fields), "BertForSequenceClassification"
    )


@contextlib.asynccontextmanager
async def attached(
    *fakes: FakeVllm, config: VllmConfig = QUICK, folder: ServedFolder | None = None
) -> AsyncIterator[VllmCrossEncoder]:
    """A cross-encoder that is attached to the fakes, whose requests so far are forgotten."""
    urls = [fake.url for fake in fakes]
    encoder = await asyncio.to_thread(VllmCrossEncoder, folder or fake_folder(), urls, config)
    try:
        for fake in fakes:
            fake.requests()
        yield encoder
    finally:
        await asyncio.to_thread(encoder.close)
