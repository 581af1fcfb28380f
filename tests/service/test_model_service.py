"""ModelService over gRPC: a registry in a folder, fakes in place of its models."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import grpc
import pytest
from registries import Registered, registered
from serving import CONFIG, Gate, Served, refused, serving

from sidecar.config import FeedbackConfig, GuardConfig
from sidecar.errors import StorageError
from sidecar.models.foreground import Foreground
from sidecar.pipeline.exchange.recording import record_canary
from sidecar.pipeline.variant import Origin
from sidecar.storage.registry import Registry
from sidecar.v1 import model_pb2, model_pb2_grpc
from sidecar.v1.collection_pb2 import CreateCollectionRequest, DescribeCollectionRequest, Schema
from sidecar.v1.collection_pb2 import TextField as TextFieldMessage
from sidecar.v1.document_pb2 import ACKNOWLEDGEMENT_SEARCHABLE, Document, UpsertDocumentsRequest
from sidecar.v1.model_pb2 import (
    CHANGE_PHASE_CHECKING,
    CHANGE_PHASE_ENCODING,
    CHANGE_PHASE_FETCHING,
    CHANGE_PHASE_FLIPPED,
    CHANGE_PHASE_LOADING,
    ActivateModelRequest,
    RollBackModelRequest,
    StartCanaryRequest,
)
from sidecar.v1.ranking_pb2 import (
    CACHE_POLICY_BYPASS,
    STAGE_DENSE,
    STAGE_FIRST_RERANK,
    STAGE_SECOND_RERANK,
    RankingOptions,
    Visitor,
)
from sidecar.v1.rerank_pb2 import Candidate, RerankRequest
from sidecar.v1.search_pb2 import SearchRequest

BROUGHT = [
    CHANGE_PHASE_FETCHING,
    CHANGE_PHASE_LOADING,
    CHANGE_PHASE_CHECKING,
    CHANGE_PHASE_FLIPPED,
]
PASSAGES = {"a": "green tea", "b": "black tea", "c": "red paint"}


class Models:
    """What a test asks of a running sidecar."""

    def __init__(self, served: Served, made: Registered) -> None:
        self.served = served
        self.made = made
        self.stub: Any = model_pb2_grpc.ModelServiceStub(served.channel)

    async def activate(self, version: str, model: str = "second") -> list[int]:
        call = self.stub.ActivateModel(ActivateModelRequest(model=model, version=version))
        return [reply.change.phase async for reply in call]

    async def roll_back(self, model: str = "second") -> list[int]:
        call = self.stub.RollBackModel(RollBackModelRequest(model=model))
        return [reply.change.phase async for reply in call]

    async def start_canary(
        self, version: str, share: float, interleaved: float = 0.0, model: str = "second"
    ) -> list[int]:
        request = StartCanaryRequest(
            model=model, version=version, share=share, interleaved_share=interleaved
        )
        return [reply.change.phase async for reply in self.stub.StartCanary(request)]

    async def list(self) -> model_pb2.ListModelsResponse:
        return await self.stub.ListModels(model_pb2.ListModelsRequest())

    async def revision(self, **options: Any) -> str:
        """Of the second-stage reranker that answers."""
        reply = await self.served.rerank.Rerank(request_of(**options))
        return revision_of(reply.ranking)

    def aliases(self, model: str = "second") -> dict[str, str]:
        return self.made.registry.aliases(model)


def request_of(session: str = "", **options: Any) -> RerankRequest:
    return RerankRequest(
        query="green tea",
        candidates=[Candidate(doc_id=doc_id, text=text) for doc_id, text in PASSAGES.items()],
        options=RankingOptions(visitor=Visitor(session_id=session), **options),
    )


def revision_of(ranking: Any, stage: int = STAGE_SECOND_RERANK) -> str:
    return next(report.model_revision for report in ranking.stages if report.stage == stage)


@pytest.fixture
def made(tmp_path: Path) -> Registered:
    return registered(tmp_path, CONFIG)


@contextlib.asynccontextmanager
async def running(made: Registered, **sections: Any) -> AsyncIterator[Models]:
    config = dataclasses.replace(made.config, **sections)
    async with serving(made.folder / "data", config, made.load) as served:
        yield Models(served, made)


@pytest.fixture
async def models(made: Registered) -> AsyncIterator[Models]:
    async with running(made) as models:
        yield models


async def test_what_serves_is_listed_with_the_versions_of_the_registry(models: Models) -> None:
    found = await models.list()
    second = found.models[2]
    assert [model.registry_model for model in found.models] == ["encoder", "first", "second"]
    assert [model.role for model in found.models] == [1, 2, 3]
    assert (second.model, second.version, second.canary_revision) == ("fake-second", "1", "")
    assert second.revision == await models.revision()
    assert [(each.version, list(each.aliases)) for each in second.versions] == [
        ("2", []),
        ("1", ["production"]),
    ]
    assert second.versions[1].revision == second.revision
    assert not found.HasField("change")


async def test_a_version_is_described_whole(models: Models) -> None:
    describe = models.stub.DescribeModel
    found = await describe(model_pb2.DescribeModelRequest(model="encoder"))
    assert (found.version.version, found.kind, found.dimensions) == ("1", "bi-encoder", 64)
    assert (found.golden_pairs, found.calibrated, found.pooling) == (2, False, "mean")
    assert set(found.files) == {"model.onnx", "tokenizer.json"}
    assert json.loads(found.contract_json)["revision"] == found.version.revision
    with refused() as refusal:
        await describe(model_pb2.DescribeModelRequest(model="encoder", version="9"))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_an_activated_version_answers_and_the_aliases_say_so(models: Models) -> None:
    before = await models.revision()
    assert await models.activate("2") == BROUGHT
    after = await models.revision()
    assert (before[:2], after[:2]) == ("1-", "2-")
    assert models.aliases() == {"production": "2", "previous": "1"}
    await models.made.parts.changes.wait_tidied()
    assert [each.closed for each in models.made.opened] == [False, True, False]


async def test_rolling_back_goes_to_the_version_before_and_back_again(models: Models) -> None:
    with refused() as refusal:
        await models.roll_back()
    assert refusal.reason == "MODEL_NOT_FOUND"
    await models.activate("2")
    assert await models.roll_back() == BROUGHT
    assert (await models.revision())[:2] == "1-"
    assert models.aliases() == {"production": "1", "previous": "2"}
    await models.roll_back()
    assert (await models.revision())[:2] == "2-"


@pytest.mark.parametrize(
    ("weights", "keys", "words"),
    [
        ("broken", {}, "golden pair is off by 3"),
        ("nan", {}, "no finite score"),
        ("sound", {"kind": "bi-encoder"}, "a cross-encoder is wanted here"),
        ("sound", {"calibration": {"method": "guess"}}, "not a model contract"),
    ],
)
async def test_a_version_that_does_not_hold_is_refused_and_nothing_changes(
    models: Models, weights: str, keys: dict[str, Any], words: str
) -> None:
    before, aliases = await models.revision(), models.aliases()
    models.made.publish("second", weights, **{k: v for k, v in keys.items() if k != "kind"})
    if "kind" in keys:  # which is not published under this name
        contract = models.made.folder / "registry/second/versions/3/contract.json"
        contract.write_text(json.dumps(json.loads(contract.read_text()) | keys))
    for change in (models.activate("3"), models.start_canary("3", 1.0)):
        with refused() as refusal:
            await change
        assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
        assert refusal.reason == "MODEL_REFUSED"
        assert words in refusal.message
        assert "version 3 of second is refused" in refusal.message
    assert (await models.revision(session="s"), models.aliases()) == (before, aliases)
    assert [each.closed for each in models.made.opened[2:]] == [True] * len(models.made.opened[2:])
    assert (await models.activate("2"))[-1] == CHANGE_PHASE_FLIPPED


async def test_a_version_whose_files_were_damaged_is_refused(
    models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    path = models.made.folder / "registry" / "second" / "versions" / "2" / "model.onnx"
    path.write_text("damaged")
    with refused() as refusal:
        await models.activate("2")
    assert (refusal.reason, "sha256" in refusal.message) == ("MODEL_REFUSED", True)
    assert (await models.revision())[:2] == "1-"
    assert "version 2 of second does not serve: version 2 of second is refused" in caplog.text


async def test_requests_that_began_before_a_flip_end_on_what_they_began_with(
    made: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The steps of a change wait for requests for a while; this one would be given up meanwhile.
    monkeypatch.setattr(Foreground, "quiet", AsyncMock(return_value=False))
    monkeypatch.setattr(Foreground, "wait_quiet", Mock(return_value=False))
    async with running(made) as models:
        gate = Gate()
        old = made.opened[1]
        old._before_score = gate
        early = asyncio.create_task(models.revision(cache=CACHE_POLICY_BYPASS))
        await asyncio.wait_for(gate.reached.wait(), 10)
        await models.activate("2")
        late = await models.revision(cache=CACHE_POLICY_BYPASS)
        assert not old.closed
        gate.opened.set()
        assert ((await early)[:2], late[:2]) == ("1-", "2-")
        await made.parts.changes.wait_tidied()
        assert old.closed


async def test_no_answer_comes_of_the_old_version_once_the_new_one_has_answered(
    models: Models,
) -> None:
    stop, seen = asyncio.Event(), collections.defaultdict[int, list[str]](list)

    async def ask(caller: int) -> None:
        while not stop.is_set():
            seen[caller].append((await models.revision())[:2])

    callers = [asyncio.create_task(ask(number)) for number in range(8)]
    for version in ("2", "1", "2"):
        await models.activate(version)
    stop.set()
    await asyncio.gather(*callers)
    for revisions in seen.values():
        changes = [one for one, other in itertools.pairwise(revisions) if one != other]
        assert changes == ["1-", "2-", "1-"][: len(changes)]
        assert revisions[-1] == "2-"


async def test_the_canary_has_its_sessions_and_is_promoted(models: Models) -> None:
    assert await models.start_canary("2", 0.5) == BROUGHT
    sessions = {f"s{number}": await models.revision(session=f"s{number}") for number in range(200)}
    again = {session: await models.revision(session=session) for session in sessions}
    on_canary = [session for session, revision in sessions.items() if revision[:2] == "2-"]
    assert sessions == again
    assert 60 < len(on_canary) < 140
    assert {(await models.revision(session=one, unlogged=True))[:2] for one in on_canary} == {"1-"}
    listed = await models.list()
    assert (listed.canary_share, listed.models[2].canary_revision[:2]) == (0.5, "2-")
    assert listed.models[1].canary_revision == ""
    assert models.aliases() == {"production": "1", "canary": "2"}
    compared = await models.stub.CompareModels(model_pb2.CompareModelsRequest(model="second"))
    assert (compared.production.version, compared.canary.version) == ("1", "2")
    assert compared.canary.answers == 2 * len(on_canary)
    assert not compared.HasField("preference")
    promoted = await models.stub.PromoteCanary(model_pb2.PromoteCanaryRequest(model="second"))
    assert promoted.version == "2"
    assert {(await models.revision(session=session))[:2] for session in sessions} == {"2-"}
    assert models.aliases() == {"production": "2", "previous": "1"}
    assert (await models.list()).canary_share == 0.0


async def test_a_canary_that_is_stopped_gives_its_sessions_back(models: Models) -> None:
    await models.start_canary("2", 1.0)
    assert (await models.revision(session="s"))[:2] == "2-"
    stopped = await models.stub.StopCanary(model_pb2.StopCanaryRequest(model="second"))
    assert stopped.version == "2"
    assert (await models.revision(session="s"))[:2] == "1-"
    assert models.aliases() == {"production": "1"}
    for change in (
        models.stub.StopCanary(model_pb2.StopCanaryRequest(model="second")),
        models.stub.PromoteCanary(model_pb2.PromoteCanaryRequest(model="second")),
        models.stub.CompareModels(model_pb2.CompareModelsRequest(model="second")),
    ):
        with refused() as refusal:
            await change
        assert refusal.reason == "MODEL_CHANGE"


async def test_the_shares_of_a_canary_change_without_loading_it_again(models: Models) -> None:
    await models.start_canary("2", 0.1)
    few = [one for one in map(str, range(100)) if (await models.revision(session=one))[:2] == "2-"]
    assert await models.start_canary("2", 0.6) == [CHANGE_PHASE_FLIPPED]
    more = [one for one in map(str, range(100)) if (await models.revision(session=one))[:2] == "2-"]
    assert set(few) < set(more)
    assert len(models.made.opened) == 3


async def test_interleaved_rankings_say_whose_each_hit_is(made: Registered) -> None:
    async with running(made, feedback=FeedbackConfig(enabled=True)) as models:
        await models.start_canary("2", 0.0, interleaved=1.0)
        ranking = (await models.served.rerank.Rerank(request_of(session="s"))).ranking
        assert ranking.interleaved
        assert sorted(hit.doc_id for hit in ranking.hits) == sorted(PASSAGES)
        compared = await models.stub.CompareModels(model_pb2.CompareModelsRequest(model="second"))
        assert compared.production.answers == compared.canary.answers == 1


@pytest.mark.parametrize(
    ("model", "share", "interleaved", "field"),
    [
        ("second", 1.2, 0.0, "share"),
        ("second", 0.5, 0.6, "interleaved_share"),
        ("second", 0.5, -0.1, "interleaved_share"),
        ("second", float("nan"), 0.0, "share"),
        ("encoder", 0.1, 0.1, "interleaved_share"),
        ("", 0.1, 0.1, "model"),
        ("x" * 80, 0.1, 0.1, "model"),
    ],
)
async def test_shares_and_names_that_cannot_be(
    models: Models, model: str, share: float, interleaved: float, field: str
) -> None:
    with refused() as refusal:
        await models.start_canary("2", share, interleaved, model)
    assert (refusal.code, refusal.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_what_cannot_be_done_as_things_stand_is_said(models: Models) -> None:
    await models.start_canary("2", 0.5)
    models.made.publish("second")
    for change in (
        models.activate("2"),
        models.activate("2", "first"),
        models.start_canary("3", 0.5),
        models.start_canary("2", 0.5, model="first"),
    ):
        with refused() as refusal:
            await change
        assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
        assert "version 2 of second is the canary" in refusal.message
    await models.stub.StopCanary(model_pb2.StopCanaryRequest(model="second"))
    with refused() as refusal:
        await models.start_canary("1", 0.5)
    assert "serves all sessions already" in refusal.message
    with refused() as refusal:
        await models.activate("1", "fake-second")
    assert (refusal.reason, "not of the registry" in refusal.message) == ("MODEL_CHANGE", True)
    for model, version in (("third", "1"), ("second", "9"), ("second", "canary")):
        with refused() as refusal:
            await models.activate(version, model)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")


async def test_without_a_registry_models_are_listed_and_not_exchanged(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        stub: Any = model_pb2_grpc.ModelServiceStub(served.channel)
        listed = await stub.ListModels(model_pb2.ListModelsRequest())
        with refused() as refusal:
            request = ActivateModelRequest(model="second", version="2")
            await stub.ActivateModel(request).read()
    assert [model.registry_model for model in listed.models] == ["", "", ""]
    assert (refusal.reason, "registry.url" in refusal.message) == ("MODEL_CHANGE", True)


class Opening:
    """Holds what opens models, in its thread."""

    def __init__(self, made: Registered) -> None:
        self._loop = asyncio.get_running_loop()
        self.reached, self.go_on = asyncio.Event(), threading.Event()
        made.before_open = self._wait

    def _wait(self, _: str) -> None:
        self._loop.call_soon_threadsafe(self.reached.set)
        assert self.go_on.wait(30)


async def test_one_change_is_under_way_at_a_time(models: Models) -> None:
    opening = Opening(models.made)
    first = asyncio.create_task(models.activate("2"))
    await asyncio.wait_for(opening.reached.wait(), 10)
    under_way = (await models.list()).change
    assert (under_way.model, under_way.version) == ("second", "2")
    assert under_way.phase == CHANGE_PHASE_LOADING
    for change in (models.activate("2", "first"), models.start_canary("2", 0.5)):
        with refused() as refusal:
            await change
        assert (refusal.reason, "is under way" in refusal.message) == ("MODEL_CHANGE", True)
    assert (await models.revision())[:2] == "1-"
    opening.go_on.set()
    assert await first == BROUGHT


async def test_a_caller_that_leaves_takes_its_change_along(models: Models) -> None:
    opening = Opening(models.made)
    call = models.stub.ActivateModel(ActivateModelRequest(model="second", version="2"))
    await asyncio.wait_for(opening.reached.wait(), 10)
    call.cancel()
    opening.go_on.set()
    while (await models.list()).HasField("change"):
        pass
    assert (await models.activate("2"))[-1] == CHANGE_PHASE_FLIPPED
    assert [each.closed for each in models.made.opened[2:]] == [True, False]
    assert models.aliases() == {"production": "2", "previous": "1"}


async def test_a_drain_ends_a_change_that_has_not_flipped(made: Registered) -> None:
    with refused() as refusal:
        async with running(made) as models:
            opening = Opening(made)
            change = asyncio.create_task(models.activate("2"))
            await asyncio.wait_for(opening.reached.wait(), 10)
            models.served.stop.set()
            asyncio.get_running_loop().call_later(0.2, opening.go_on.set)
            await change
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")
    assert made.registry.aliases("second") == {"production": "1"}


async def test_a_flip_stands_when_its_aliases_cannot_be_moved(
    models: Models, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(models.made.registry, "move_aliases", full)
        call = models.stub.ActivateModel(ActivateModelRequest(model="second", version="2"))
        phases = []
        with refused() as refusal:
            async for reply in call:
                phases.append(reply.change.phase)
    assert phases == BROUGHT
    assert (refusal.reason, "the disk is full" in refusal.message) == ("STORAGE", True)
    assert "does not serve" not in caplog.text
    assert ((await models.revision())[:2], models.aliases()) == ("2-", {"production": "1"})
    assert await models.activate("2") == [CHANGE_PHASE_FLIPPED]
    assert models.aliases() == {"production": "2", "previous": "1"}


async def test_a_restart_serves_what_production_points_to(made: Registered) -> None:
    async with running(made) as models:
        await models.activate("2")
    async with running(made) as models:
        assert (await models.revision())[:2] == "2-"
        await models.start_canary("1", 1.0)
    async with running(made) as models:
        assert (await models.revision(session="s"))[:2] == "2-"


async def test_the_guard_takes_a_canary_away_that_fails(made: Registered) -> None:
    made.publish("second", "failing")
    async with running(made, guard=GuardConfig(least_answers=20)) as models:
        await models.start_canary("3", 0.5)
        for number in range(400):
            await models.revision(session=str(number), cache=CACHE_POLICY_BYPASS)
        await made.parts.watch.look_at_canary()
        listed = await models.list()
        assert listed.canary_share == 0.0
        assert "version 3 of second, the canary, was taken away" in listed.last_intervention
        assert "failed or were degraded" in listed.last_intervention
        assert {(await models.revision(session=str(one)))[:2] for one in range(50)} == {"1-"}
    assert made.registry.aliases("second") == {"production": "1"}


async def test_the_guard_looks_by_itself(made: Registered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.pipeline.exchange.model_watch.GUARD_SECONDS", 0.01)
    monkeypatch.setattr(
        "sidecar.pipeline.comparison.comparison.Comparison.verdict", lambda _: "for a test"
    )
    async with running(made) as models:
        await models.start_canary("2", 0.5)
        async with asyncio.timeout(10):
            while not (listed := await models.list()).last_intervention:
                pass
        assert (listed.canary_share, models.aliases()) == (0.0, {"production": "1"})


async def test_aliases_are_written_in_the_order_of_the_flips(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A canary that is taken away while the registry is slow to hear of it leaves no alias."""
    heard = threading.Event()

    def slowly(registry: Registry, origin: Origin) -> None:
        heard.wait(10)
        record_canary(registry, origin)

    monkeypatch.setattr("sidecar.pipeline.exchange.flips.record_canary", slowly)
    changes = models.made.parts.changes
    begun = asyncio.create_task(models.start_canary("2", 0.5))
    async with asyncio.timeout(10):
        while changes.canary is None:
            await asyncio.sleep(0.01)
    ended = asyncio.create_task(changes.stop_canary("second"))
    async with asyncio.timeout(10):
        while changes.canary is not None:
            await asyncio.sleep(0.01)
    await asyncio.wait({ended}, timeout=0.2)  # would end here if it took no turn
    heard.set()
    await asyncio.gather(begun, ended)
    assert models.aliases() == {"production": "1"}


async def test_the_production_alias_is_followed(models: Models) -> None:
    watch = models.made.parts.watch
    models.made.registry.move_aliases("second", {"production": "2"}, {"production": "1"})
    await watch.look_at_aliases()
    assert (await models.revision())[:2] == "2-"
    assert "version 2 of second serves" in (await models.list()).last_intervention
    broken = models.made.publish("second", "broken")
    models.made.registry.move_aliases("second", {"production": broken}, models.aliases())
    for _ in range(2):
        await watch.look_at_aliases()
    opened = len(models.made.opened)
    assert (await models.revision())[:2] == "2-"
    assert "was not followed: version 3 of second is refused" in watch.last_intervention
    assert opened == 3


async def fill(models: Models, documents: dict[str, str]) -> None:
    request = UpsertDocumentsRequest(
        collection="docs",
        documents=[
            Document(doc_id=doc_id, fields={"t": text}) for doc_id, text in documents.items()
        ],
        acknowledgement=ACKNOWLEDGEMENT_SEARCHABLE,
    )
    assert [one async for one in models.served.documents.UpsertDocuments(iter([request]))]


async def create(models: Models) -> None:
    schema = Schema(text_fields=[TextFieldMessage(name="t")])
    await models.served.collections.CreateCollection(
        CreateCollectionRequest(name="docs", schema=schema)
    )


async def search(models: Models, session: str = "") -> tuple[str, set[str]]:
    """The revision of the dense leg, and what was found."""
    options = RankingOptions(visitor=Visitor(session_id=session))
    request = SearchRequest(collection="docs", query="green tea", options=options)
    ranking = (await models.served.search.Search(request)).ranking
    assert not ranking.degraded
    return revision_of(ranking, STAGE_DENSE)[:2], {hit.doc_id for hit in ranking.hits}


async def leader(models: Models) -> str:
    request = DescribeCollectionRequest(name="docs")
    described = await models.served.collections.DescribeCollection(request)
    return str(described.collection.bi_encoder_revision)[:2]


async def test_a_bi_encoder_comes_with_its_generation_of_vectors(made: Registered) -> None:
    async with running(made) as models:
        await create(models)
        await fill(models, PASSAGES)
        assert await search(models) == ("1-", set(PASSAGES))
        phases = await models.activate("2", "encoder")
        assert phases[:3] == BROUGHT[:3]
        assert set(phases[3:-1]) == {CHANGE_PHASE_ENCODING}
        assert phases[-1] == CHANGE_PHASE_FLIPPED
        assert (await search(models), await leader(models)) == (("2-", set(PASSAGES)), "2-")
        await fill(models, {"d": "white tea"})
        assert await search(models) == ("2-", {*PASSAGES, "d"})
        back = await models.roll_back("encoder")  # it is open still, and its vectors are kept
        assert CHANGE_PHASE_FETCHING not in back
        assert (await search(models), await leader(models)) == (("1-", {*PASSAGES, "d"}), "1-")
    async with running(made) as models:
        assert await search(models) == ("1-", {*PASSAGES, "d"})
        await models.roll_back("encoder")
        assert await search(models) == ("2-", {*PASSAGES, "d"})


async def test_documents_without_vectors_get_them_from_the_version_that_serves(
    made: Registered,
) -> None:
    async with running(made) as models:
        await create(models)
        await fill(models, PASSAGES)
    made.registry.move_aliases("encoder", {"production": "2"}, made.registry.aliases("encoder"))
    async with running(made) as models:  # opened with a bi-encoder that the collection lacks
        request = SearchRequest(collection="docs", query="green tea")
        ranking = (await models.served.search.Search(request)).ranking
        dense = next(report for report in ranking.stages if report.stage == STAGE_DENSE)
        assert "sidecar models activate" in dense.detail
        phases = await models.activate("2", "encoder")
        assert set(phases[:-1]) == {CHANGE_PHASE_ENCODING}
        assert phases[-1] == CHANGE_PHASE_FLIPPED
        assert (await search(models), await leader(models)) == (("2-", set(PASSAGES)), "2-")


async def test_nothing_is_interleaved_where_no_click_is_logged(made: Registered) -> None:
    async with running(made, feedback=FeedbackConfig(enabled=False)) as models:
        with refused() as refusal:
            await models.start_canary("2", 0.1, 0.1)
        assert (refusal.reason, "feedback.enabled" in refusal.message) == ("MODEL_CHANGE", True)
        assert (await models.start_canary("2", 0.1))[-1] == CHANGE_PHASE_FLIPPED


async def test_a_bi_encoder_as_canary_searches_its_own_generation(made: Registered) -> None:
    async with running(made) as models:
        await create(models)
        await fill(models, PASSAGES)
        await models.start_canary("2", 1.0, model="encoder")
        assert await search(models, "s") == ("2-", set(PASSAGES))
        assert (await search(models), await leader(models)) == (("2-", set(PASSAGES)), "1-")
        await models.stub.StopCanary(model_pb2.StopCanaryRequest(model="encoder"))
        assert await search(models, "s") == ("1-", set(PASSAGES))
        await models.start_canary("2", 1.0, model="encoder")
        await models.stub.PromoteCanary(model_pb2.PromoteCanaryRequest(model="encoder"))
        assert (await search(models), await leader(models)) == (("2-", set(PASSAGES)), "2-")


async def test_the_first_reranker_is_exchanged_as_well(models: Models) -> None:
    await models.activate("2", "first")
    reply = await models.served.rerank.Rerank(request_of())
    stages = (STAGE_FIRST_RERANK, STAGE_SECOND_RERANK)
    assert [revision_of(reply.ranking, stage)[:2] for stage in stages] == ["2-", "1-"]
