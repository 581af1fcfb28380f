"""A bi-encoder against a fake server: what is sent, in what portions, and what is made of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from vllm_fake import DIMENSIONS, QUICK, FakeVllm, serving_fakes, vector

from sidecar.config import BiEncoderConfig, VllmConfig
from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.models.contract import ModelContract
from sidecar.models.hub import CARRIED
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.vllm.bi_encoder import VllmBiEncoder
from sidecar.models.vllm.folder import ServedFolder

FOLDER = CARRIED / "all-minilm-l6-v2"
TOKENIZER = Tokenizer.open(FOLDER / "tokenizer.json", 256)
CONTRACT = ModelContract(
    name="fake", kind="bi-encoder", revision="1", max_tokens=256, dimensions=DIMENSIONS
)


@contextlib.asynccontextmanager
async def attached(
    *fakes: FakeVllm, config: VllmConfig = QUICK, **changes: Any
) -> AsyncIterator[VllmBiEncoder]:
    folder = ServedFolder(FOLDER, dataclasses.replace(CONTRACT, **changes), "BertModel")
    urls = [fake.url for fake in fakes]
    encoder = await asyncio.to_thread(VllmBiEncoder, folder, urls, BiEncoderConfig(), config)
    try:
        for fake in fakes:
            fake.requests()
        yield encoder
    finally:
        await asyncio.to_thread(encoder.close)


def unit(text: str, budget: int = 256) -> np.ndarray:
    raw = vector(TOKENIZER.texts([text], budget)[0].input_ids)
    return raw / np.linalg.norm(raw)


async def test_unit_vectors_in_order_of_texts_with_their_prefixes() -> None:
    fake = FakeVllm()
    prefixes = {"query_prefix": "query: ", "passage_prefix": "passage: "}
    async with serving_fakes(fake), attached(fake, **prefixes) as encoder:
        queries = await asyncio.to_thread(encoder.encode_queries, ["red shoes", "a hat"])
        passages = await asyncio.to_thread(encoder.encode_passages, ["red shoes"])
    assert np.allclose(queries, [unit("query: red shoes"), unit("query: a hat")])
    assert np.allclose(passages, [unit("passage: red shoes")])


async def test_texts_are_cut_to_their_budgets_before_they_are_sent() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake, max_passage_tokens=10) as encoder:
        await asyncio.to_thread(encoder.encode_queries, ["word " * 500])
        await asyncio.to_thread(encoder.encode_passages, ["word " * 500])
        lengths = [len(asked["input"][0]) for asked in fake.requests()]
    assert lengths == [64 + 2, 10 + 2]


async def test_many_texts_are_sent_in_requests_of_so_many_tokens() -> None:
    fake = FakeVllm()
    config = dataclasses.replace(QUICK, request_tokens=20, tokens_in_flight=40)
    texts = [f"{'word ' * (number % 7)}number" for number in range(50)]
    async with serving_fakes(fake), attached(fake, config=config) as encoder:
        vectors = await asyncio.to_thread(encoder.encode_passages, texts)
        requests = fake.requests()
    assert np.allclose(vectors, [unit(text) for text in texts])
    assert max(sum(map(len, asked["input"])) for asked in requests) <= 20


async def test_no_text_asks_for_nothing() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        assert (await asyncio.to_thread(encoder.encode_passages, [])).shape == (0, DIMENSIONS)
        assert fake.requests() == []


async def test_other_golden_cosines_stop_the_start() -> None:
    fake = FakeVllm()
    cosine = float(unit("red shoes") @ unit("a hat"))
    async with serving_fakes(fake):
        async with attached(fake, golden_pairs=(("red shoes", "a hat", cosine + 0.005),)):
            pass
        with pytest.raises(ModelError, match="cosine of a golden pair"):
            async with attached(fake, golden_pairs=(("red shoes", "a hat", cosine + 0.05),)):
                pass


async def test_a_server_for_shorter_texts_stops_the_start() -> None:
    fake = FakeVllm(max_model_len=100)
    async with serving_fakes(fake):
        with pytest.raises(ModelError, match="it takes 100 tokens"):
            async with attached(fake):
                pass


async def test_other_dimensions_are_an_error() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake, dimensions=16) as encoder:
        with pytest.raises(ModelError, match="8 dimensions, its contract says 16"):
            await asyncio.to_thread(encoder.encode_queries, ["red"])


async def test_a_dead_server_is_unavailability() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        await fake.stop()
        with pytest.raises(ModelUnavailableError):
            await asyncio.to_thread(encoder.encode_queries, ["red"])
