"""Versions of a model that vLLM serves: adapters, second servers, and what can be neither."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from vllm_fake import GOLDEN, QUICK, FakeVllm, logit, serving_fakes

from sidecar.config import Config, RerankerConfig
from sidecar.errors import ModelError, ModelRefusedError, ModelUnavailableError
from sidecar.models.base import CrossEncoder
from sidecar.models.contract import ModelContract, to_json
from sidecar.models.hub import CARRIED
from sidecar.models.vllm import servers
from sidecar.models.vllm.launch import Launch
from sidecar.models.vllm.servers import OwnServers
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.variant import Shared
from sidecar.types import Truncation

ROLE = "second_reranker"
ADDS = 2.0


@pytest.fixture
async def fake() -> AsyncIterator[FakeVllm]:
    server = FakeVllm()
    async with serving_fakes(server):
        yield server


def folder_of(folder: Path, revision: str, adds: float = 0.0, **keys: Any) -> str:
    """A version that adds so much to every score of the fake model; an adapter of r1 if not 0."""
    folder.mkdir()
    golden = tuple((query, passage, logit(query, passage) + adds) for query, passage in GOLDEN)
    contract = ModelContract("fake", "cross-encoder", revision, golden_pairs=golden)
    shutil.copy(CARRIED / "pair-minilm-l6" / "tokenizer.json", folder)
    (folder / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    (folder / "model.safetensors").write_text("weights")
    if adds:
        (folder / "adapter_config.json").write_text(json.dumps({"adds": adds}))
        keys = {"adapter_of": "r1"} | keys
    (folder / "contract.json").write_text(json.dumps(to_json(contract) | keys))
    return str(folder)


class Versions:
    """A workshop whose model is served by a fake; encoders are opened as changes open them."""

    def __init__(self, tmp_path: Path, url: str, own: OwnServers | None = None) -> None:
        base = folder_of(tmp_path / "base", "r1")
        section = RerankerConfig(model=base, vllm_urls=url)
        config = dataclasses.replace(Config(vllm=QUICK), second_reranker=section)
        self.workshop = Workshop(config, tmp_path, servers=own)
        self.path = tmp_path
        self.base = base

    async def open(self, model: str, like: CrossEncoder | None = None) -> CrossEncoder:
        contract = like.contract if like is not None else None
        opened = await asyncio.to_thread(self.workshop.open_cross_encoder, ROLE, model, contract)
        assert opened is not None
        return opened

    async def close(self, encoder: CrossEncoder) -> None:
        shared: Shared[Any] = self.workshop.reranker_of(ROLE, encoder)
        shared.release()
        await asyncio.to_thread(shared.close)


async def score_of(encoder: CrossEncoder, query: str, passage: str) -> float:
    pairs = encoder.tokenize(query, [passage], Truncation())[0].pairs
    return float((await encoder.score(pairs))[0])


async def test_an_adapter_is_loaded_where_its_base_is_served(
    tmp_path: Path, fake: FakeVllm
) -> None:
    versions = Versions(tmp_path, fake.url)
    base = await versions.open(versions.base)
    adapter = await versions.open(folder_of(tmp_path / "adapter", "r2", ADDS), base)
    assert fake.adapters == {"fake@r2": ADDS}
    plain = logit("red hat", "a red hat")
    assert np.isclose(await score_of(adapter, "red hat", "a red hat"), plain + ADDS)
    assert np.isclose(await score_of(base, "red hat", "a red hat"), plain)
    further = await versions.open(folder_of(tmp_path / "further", "r3", 1.0), adapter)
    await versions.close(adapter)
    assert fake.adapters == {"fake@r3": 1.0}
    await versions.close(further)
    await versions.close(base)


async def test_a_server_that_comes_back_gets_the_adapter_again(
    tmp_path: Path, fake: FakeVllm
) -> None:
    versions = Versions(tmp_path, fake.url)
    base = await versions.open(versions.base)
    adapter = await versions.open(folder_of(tmp_path / "adapter", "r2", ADDS), base)
    await fake.stop()
    with pytest.raises(ModelUnavailableError):
        await score_of(adapter, "red hat", "a red hat")
    fake.adapters.clear()
    await fake.start()
    async with asyncio.timeout(10):
        while not fake.adapters:
            await asyncio.sleep(0)
    for encoder in (adapter, base):
        await versions.close(encoder)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda fake: setattr(fake, "takes_adapters", False), "--enable-lora"),
        (lambda fake: setattr(fake, "offset", 1.0), "golden pair"),
    ],
)
async def test_an_adapter_that_a_server_does_not_take_is_refused(
    tmp_path: Path, fake: FakeVllm, break_it: Callable[[FakeVllm], None], words: str
) -> None:
    versions = Versions(tmp_path, fake.url)
    base = await versions.open(versions.base)
    break_it(fake)
    with pytest.raises(ModelError, match=words):
        await versions.open(folder_of(tmp_path / "adapter", "r2", ADDS), base)
    await versions.close(base)


async def test_what_cannot_be_loaded_at_an_address_is_refused(
    tmp_path: Path, fake: FakeVllm
) -> None:
    versions = Versions(tmp_path, fake.url)
    base = await versions.open(versions.base)
    with pytest.raises(ModelRefusedError, match="not this sidecar's"):
        await versions.open(folder_of(tmp_path / "whole", "r2"), base)
    other = folder_of(tmp_path / "other", "r3", ADDS, adapter_of="r0")
    with pytest.raises(ModelRefusedError, match="adapter of revision r0"):
        await versions.open(other, base)
    unknown = folder_of(tmp_path / "unknown", "r4", ADDS, adapter_of=None)
    with pytest.raises(ModelRefusedError, match="revision None"):
        await versions.open(unknown, base)
    unchecked = folder_of(tmp_path / "unchecked", "r5", ADDS, golden_pairs=[])
    with pytest.raises(ModelRefusedError, match="no golden pairs"):
        await versions.open(unchecked, base)
    assert fake.adapters == {}
    await versions.close(base)


class Process:
    """In place of a supervised server: it is where a fake is."""

    running: ClassVar[list[str]] = []

    def __init__(self, launch: Launch, stop_seconds: float) -> None:
        self.url = launch.url

    def start(self, seconds: float) -> None:
        self.running.append(self.url)

    def stop(self) -> None:
        self.running.remove(self.url)


async def test_a_whole_model_comes_up_in_a_second_server_and_the_first_ends_when_it_is_closed(
    tmp_path: Path, fake: FakeVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, wrong = FakeVllm(), FakeVllm()
    wrong.offset = 1.0
    monkeypatch.setattr(servers, "SupervisedServer", Process)
    monkeypatch.setattr(Process, "running", [])

    def launched(launch: Launch, model: str, _: object) -> Launch:
        url = wrong.url if model.endswith("third") else beside.url
        return dataclasses.replace(launch, model=model, url=url)

    monkeypatch.setattr(servers, "plan_launch_beside", launched)
    async with serving_fakes(beside, wrong):
        own = OwnServers(Config(vllm=QUICK))
        own.start(Launch(ROLE, "fake", fake.url, (), {}))
        versions = Versions(tmp_path, fake.url, own)
        first = await versions.open(versions.base)
        second = await versions.open(folder_of(tmp_path / "second", "r2"), first)
        assert Process.running == [fake.url, beside.url]
        await versions.close(first)
        assert Process.running == [beside.url]
        with pytest.raises(ModelError, match="golden pair"):
            await versions.open(folder_of(tmp_path / "third", "r3"), second)
        assert Process.running == [beside.url]
        await versions.close(second)
        assert Process.running == []
