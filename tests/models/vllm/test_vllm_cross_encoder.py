"""A cross-encoder against servers that fail in every way that vLLM can."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from vllm_fake import QUICK, FakeVllm, attached, fake_folder, logit, serving_fakes

from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.models.base import ScorablePair, TextPair
from sidecar.models.vllm.cross_encoder import VllmCrossEncoder
from sidecar.types import LongPassages, Truncation

QUERY = "red shoes"
PASSAGES = ["red shoes for running", "a hat", "shoes", "the red barn by the sea"]


def to_pairs(encoder: VllmCrossEncoder, passages: Sequence[str] = PASSAGES) -> list[ScorablePair]:
    tokenized = encoder.tokenize(QUERY, passages, Truncation())
    return [pair for passage in tokenized for pair in passage.pairs]


def expected(passages: Sequence[str] = PASSAGES) -> list[float]:
    return [logit(QUERY, passage) for passage in passages]


async def back_up(encoder: VllmCrossEncoder) -> list[float]:
    """The scores, as soon as a server is up again."""
    async with asyncio.timeout(10):
        while True:
            try:
                return list(await encoder.score(to_pairs(encoder)))
            except ModelUnavailableError:
                await asyncio.sleep(0)


async def fault_of(encoder: VllmCrossEncoder) -> str:
    """Why no server is up, which none must be."""
    with pytest.raises(ModelUnavailableError) as error:
        await encoder.score(to_pairs(encoder))
    return error.value.message


async def test_logits_of_pairs_of_several_queries_in_order() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        other = encoder.tokenize("blue hat", ["a blue hat"], Truncation())[0].pairs
        scores = await encoder.score([*to_pairs(encoder), *other])
        [asked] = fake.requests()
        assert np.allclose(scores, [*expected(), logit("blue hat", "a blue hat")])
        assert asked["queries"] == [QUERY] * 4 + ["blue hat"]
        assert asked["documents"] == [*PASSAGES, "a blue hat"]
        assert asked["use_activation"] is False
        assert asked["model"] == "fake"


async def test_texts_are_cut_here_and_counted_with_their_special_tokens() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        budgets = Truncation(2, 5, LongPassages.CHUNK_AND_MAX, 2)
        [passage] = encoder.tokenize("red shoes now", ["one two three four five six"], budgets)
        assert passage.truncated
        assert passage.token_count == 3 + 3 + 6
        assert [pair.length for pair in passage.pairs] == [3 + 2 + 5, 3 + 2 + 1]
        await encoder.score(passage.pairs)
        [asked] = fake.requests()
        assert asked["queries"] == ["red shoes"] * 2
        assert asked["documents"] == ["one two three four five", "six"]


async def test_budgets_of_the_contract_lower_those_asked_for() -> None:
    fake = FakeVllm()
    folder = fake_folder(max_query_tokens=1, max_passage_tokens=2, golden_pairs=())
    async with serving_fakes(fake), attached(fake, folder=folder) as encoder:
        [passage] = encoder.tokenize("red shoes", ["one two three"], Truncation())
        [pair] = passage.pairs
        assert isinstance(pair, TextPair)
        assert (pair.query, pair.passage, pair.length) == ("red", "one two", 6)


async def test_a_server_for_shorter_inputs_lowers_the_budgets() -> None:
    fake = FakeVllm(max_model_len=70)
    async with serving_fakes(fake), attached(fake) as encoder:
        [passage] = encoder.tokenize("red", ["word " * 300], Truncation())
        assert passage.pairs[0].length == 70


async def test_a_poisoned_request_is_the_models_error_and_the_server_stays_up() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        fake.poison = "barn"
        with pytest.raises(ModelError, match="the poison is in it") as error:
            await encoder.score(to_pairs(encoder))
        assert not isinstance(error.value, ModelUnavailableError)
        assert len(fake.requests()) == 1, "what is refused is not sent again"
        assert np.allclose(await encoder.score(to_pairs(encoder, PASSAGES[:3])), expected()[:3])


async def test_the_page_of_a_proxy_is_for_the_log(caplog: pytest.LogCaptureFixture) -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        fake.status, fake.page = 413, "<html>nginx of the inner network</html>"
        with pytest.raises(ModelError, match="413 and no message") as error:
            await encoder.score(to_pairs(encoder))
    assert "nginx" not in error.value.message
    assert "nginx of the inner network" in caplog.text


@pytest.mark.parametrize(("value", "is_scored"), [(math.nan, False), (None, False), (2, True)])
async def test_a_score_that_is_no_number_is_that_pairs_failure(
    value: float | None, is_scored: bool
) -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        fake.scores = [1.0, value, 3.0, 4.0]
        scores = await encoder.score(to_pairs(encoder))
        assert np.isfinite(scores).tolist() == [True, is_scored, True, True]


async def test_an_answer_without_a_score_for_each_pair_is_an_error() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        fake.scores = [1.0, 2.0]
        with pytest.raises(ModelError, match="not one score for each of 4"):
            await encoder.score(to_pairs(encoder))


@pytest.mark.parametrize("status", [500, 503])
async def test_a_failed_request_is_answered_by_another_server(status: int) -> None:
    first, second = FakeVllm(), FakeVllm()
    async with serving_fakes(first, second), attached(first, second) as encoder:
        first.status = status
        for _ in range(3):
            assert np.allclose(await encoder.score(to_pairs(encoder)), expected())
        assert len(first.requests()) == 3, "it is healthy, so it is tried again"


async def test_the_only_server_being_full_is_unavailability() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        fake.status = 503
        with pytest.raises(ModelUnavailableError, match="status 503"):
            await encoder.score(to_pairs(encoder))
        fake.status = 200
        assert np.allclose(await encoder.score(to_pairs(encoder)), expected())


async def test_a_healthy_server_that_fails_blames_its_input() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        fake.status = 500
        with pytest.raises(ModelError) as error:
            await encoder.score(to_pairs(encoder))
        assert not isinstance(error.value, ModelUnavailableError)


async def test_a_server_whose_engine_died_blames_itself() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        fake.status, fake.health = 500, 503
        with pytest.raises(ModelUnavailableError):
            await encoder.score(to_pairs(encoder))


async def test_an_answer_that_breaks_off_is_asked_for_elsewhere() -> None:
    first, second = FakeVllm(), FakeVllm()
    async with serving_fakes(first, second), attached(first, second) as encoder:
        first.breaks = True
        assert np.allclose(await encoder.score(to_pairs(encoder)), expected())


async def test_a_stalled_server_costs_no_more_than_the_timeout() -> None:
    fake = FakeVllm()
    config = dataclasses.replace(QUICK, timeout_seconds=0.2)
    async with serving_fakes(fake), attached(fake, config=config) as encoder:
        fake.gate.clear()
        started = time.monotonic()
        with pytest.raises(ModelUnavailableError, match="no answer in time"):
            await encoder.score(to_pairs(encoder))
        assert time.monotonic() - started < 2.0


async def test_an_engine_that_hangs_is_not_asked_again_while_health_says_200() -> None:
    fake = FakeVllm()
    config = dataclasses.replace(QUICK, timeout_seconds=0.2)
    async with serving_fakes(fake), attached(fake, config=config) as encoder:
        fake.gate.clear()
        with pytest.raises(ModelUnavailableError):
            await encoder.score(to_pairs(encoder))
        started = time.monotonic()
        assert "no server of fake is up" in await fault_of(encoder)
        assert time.monotonic() - started < 0.2
        fake.gate.set()
        assert np.allclose(await back_up(encoder), expected())


async def test_a_key_is_sent() -> None:
    fake = FakeVllm()
    config = dataclasses.replace(QUICK, api_key="secret")
    async with serving_fakes(fake), attached(fake, config=config):
        assert fake.authorization == "Bearer secret"


async def test_a_model_without_golden_pairs_is_taken_unchecked_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake = FakeVllm()
    fake.offset = 5.0
    async with serving_fakes(fake), attached(fake, folder=fake_folder(golden_pairs=())):
        assert "has no golden pairs" in caplog.text


async def test_what_waits_for_a_server_moves_on_when_its_health_check_fails() -> None:
    first, second = FakeVllm(), FakeVllm()
    async with serving_fakes(first, second), attached(first, second) as encoder:
        first.gate.clear()
        asking = asyncio.create_task(encoder.score(to_pairs(encoder)))
        await first.arrived.get()
        first.health = 503
        async with asyncio.timeout(3):
            assert np.allclose(await asking, expected())
        assert len(second.requests()) == 1


async def test_a_cancelled_request_closes_its_connection() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        fake.gate.clear()
        asking = asyncio.create_task(encoder.score(to_pairs(encoder)))
        await fake.arrived.get()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            await fake.aborted.wait()
        fake.gate.set()
        assert np.allclose(await encoder.score(to_pairs(encoder)), expected())


async def test_the_server_with_the_fewest_tokens_under_way_is_asked() -> None:
    first, second = FakeVllm(), FakeVllm()
    async with serving_fakes(first, second), attached(first, second) as encoder:
        first.gate.clear()
        second.gate.clear()
        large = asyncio.create_task(encoder.score(to_pairs(encoder, PASSAGES * 8)))
        await first.arrived.get()
        small = [asyncio.create_task(encoder.score(to_pairs(encoder))) for _ in range(3)]
        for _ in small:
            await second.arrived.get()
        assert first.arrived.empty()
        first.gate.set()
        second.gate.set()
        await asyncio.gather(large, *small)


async def test_a_server_that_comes_back_is_used_again() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        await fake.stop()
        started = time.monotonic()
        for _ in range(2):
            with pytest.raises(ModelUnavailableError):
                await encoder.score(to_pairs(encoder))
        assert time.monotonic() - started < 1.0
        await fake.start()
        assert np.allclose(await back_up(encoder), expected())


async def test_a_server_with_other_scores_stops_the_start() -> None:
    fake = FakeVllm()
    fake.offset = 0.2
    async with serving_fakes(fake):
        with pytest.raises(ModelError, match=r"golden pair is 0\.2 from the contract's"):
            async with attached(fake):
                pass


async def test_a_server_with_other_scores_is_not_used_beside_a_right_one() -> None:
    wrong, right = FakeVllm(), FakeVllm()
    wrong.offset = 0.2
    async with serving_fakes(wrong, right), attached(wrong, right) as encoder:
        for _ in range(3):
            assert np.allclose(await encoder.score(to_pairs(encoder)), expected())
        assert wrong.requests() == []


async def test_a_server_that_comes_back_with_other_scores_is_not_used() -> None:
    fake, other = FakeVllm(), FakeVllm()
    async with serving_fakes(fake, other), attached(fake, other) as encoder:
        await fake.stop()
        assert np.allclose(await encoder.score(to_pairs(encoder)), expected())
        fake.offset = 0.2
        await fake.start()
        await fake.arrived.get()  # the golden pairs
        await other.stop()
        async with asyncio.timeout(10):
            while "golden pair" not in await fault_of(encoder):
                await asyncio.sleep(0)


async def test_servers_that_do_not_answer_yet_do_not_stop_the_start() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake):
        await fake.stop()
        async with attached(fake) as encoder:
            with pytest.raises(ModelUnavailableError, match=fake.url):
                await encoder.score(to_pairs(encoder))
            assert not encoder.batch_invariant, "nobody has seen it yet"
            await fake.start()
            assert np.allclose(await back_up(encoder), expected())
            assert encoder.batch_invariant


async def test_scores_that_move_with_their_neighbours_are_noticed() -> None:
    fake = FakeVllm()
    fake.together = 0.3
    async with serving_fakes(fake), attached(fake, folder=fake_folder(golden_pairs=())) as encoder:
        assert not encoder.batch_invariant


async def test_every_server_is_fed_what_keeps_it_full() -> None:
    first, second = FakeVllm(), FakeVllm()
    config = dataclasses.replace(QUICK, request_tokens=1000, tokens_in_flight=4500)
    async with serving_fakes(first, second), attached(first, second, config=config) as encoder:
        feed = encoder.feed
        assert (feed.side_by_side, feed.batch_tokens) == (8, 1000)
        assert not feed.pads
        assert not feed.shares_cores


async def test_the_template_digest_moves_with_the_tokenizer_and_the_limit() -> None:
    fake = FakeVllm()
    async with serving_fakes(fake), attached(fake) as encoder:
        digest = encoder.template_digest
    async with serving_fakes(fake), attached(fake) as encoder:
        assert encoder.template_digest == digest
    async with serving_fakes(fake), attached(fake, folder=fake_folder(max_tokens=99)) as encoder:
        assert encoder.template_digest != digest
