"""A Milvus that is not there, does not answer or was killed: legs fail in time, writes in words,
and nothing that was acknowledged is lost."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from engines.milvus import MilvusLite
from fakes import FakeBiEncoder
from recalling import a_document

from sidecar.config import BackendConfig
from sidecar.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    InvalidFieldError,
)
from sidecar.recall.milvus.collection import MilvusCollection
from sidecar.recall.milvus.connection import Connection
from sidecar.types import StageReason

QUERY = FakeBiEncoder().encode_queries(["common"])[0]
LEG_SECONDS = 0.3
# Of a machine with other work to do; far from the 20 seconds that are configured.
LEEWAY_SECONDS = 5.0


@pytest.fixture
def own(collections, server: MilvusLite):
    """A collection of one document, and a server that runs afterwards, too."""
    collection = collections()
    collection.upsert([a_document(1)])
    yield collection
    if server.process is None:
        server.start()
    until_answered(collection)


def both_legs(collection: MilvusCollection, seconds: float | None = None):
    lexical = collection.lexical("common", None, 10, timeout_seconds=seconds)
    return lexical, collection.dense(QUERY, None, 10, timeout_seconds=seconds)


def until_found(collection: MilvusCollection) -> list[str]:
    """Of the first search that is answered again."""
    until_answered(collection)
    return sorted(each.doc_id for each in collection.lexical("common", None, 1000).recalled)


def until_answered(collection: MilvusCollection, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while (leg := collection.lexical("common", None, 1)).retry_seconds is not None:
        assert time.monotonic() < end, leg.detail
        time.sleep(0.05)  # between two attempts to reach it


def test_a_server_that_is_gone_fails_the_legs_at_once_and_is_found_again(own, server: MilvusLite):
    server.kill()
    started = time.monotonic()
    for leg in both_legs(own):
        assert leg.reason is StageReason.INDEX_UNAVAILABLE
        assert server.url in leg.detail
        assert "UNAVAILABLE" in leg.detail
        assert leg.recalled == ()
    # pymilvus by itself would try again for the 20 s of the timeout.
    assert time.monotonic() - started < LEEWAY_SECONDS
    with pytest.raises(BackendUnavailableError, match=r"'lite' \(Milvus at .*\) cannot be reached"):
        own.upsert([a_document(2)])
    with pytest.raises(BackendUnavailableError):
        own.delete(["d0001"])
    with pytest.raises(BackendUnavailableError):
        own.passages(["d0001"])
    server.start()
    assert until_found(own) == ["d0001"]
    assert own.upsert([a_document(2)]).count == 1


def test_a_server_that_does_not_answer_is_waited_for_as_long_as_was_asked(own, server: MilvusLite):
    server.pause()
    try:
        for leg in (own.lexical, own.dense):
            query = "common" if leg == own.lexical else QUERY
            started = time.monotonic()
            answer = leg(query, None, 10, timeout_seconds=LEG_SECONDS)
            waited = time.monotonic() - started
            assert answer.reason is StageReason.INDEX_UNAVAILABLE
            assert "DEADLINE_EXCEEDED" in answer.detail
            assert LEG_SECONDS <= waited < LEG_SECONDS + LEEWAY_SECONDS
    finally:
        server.resume()
    assert until_found(own) == ["d0001"]


def test_the_configured_time_is_the_longest(collections, server: MilvusLite):
    collection = collections(timeout_seconds=LEG_SECONDS)
    both_legs(collection)
    server.pause()
    try:
        started = time.monotonic()
        leg = collection.lexical("common", None, 10, timeout_seconds=60.0)
        assert leg.reason is StageReason.INDEX_UNAVAILABLE
        assert time.monotonic() - started < LEG_SECONDS + LEEWAY_SECONDS
    finally:
        server.resume()


def test_one_that_is_silent_from_the_start_is_waited_for_no_longer(
    own, collections, server: MilvusLite
):
    opened = collections(reopened=own._record)
    server.pause()
    try:
        started = time.monotonic()
        leg = opened.lexical("common", None, 10, timeout_seconds=LEG_SECONDS)
        assert leg.reason is StageReason.INDEX_UNAVAILABLE
        assert time.monotonic() - started < LEG_SECONDS + LEEWAY_SECONDS
    finally:
        server.resume()
    assert until_found(opened) == ["d0001"]


def test_it_can_be_opened_before_its_server_is_there(own, collections, server: MilvusLite):
    server.kill()
    opened = collections(reopened=own._record)
    assert all(leg.reason is StageReason.INDEX_UNAVAILABLE for leg in both_legs(opened))
    with pytest.raises(BackendUnavailableError):
        opened.stats()
    assert opened.describe().document_count == 0
    server.start()
    assert until_found(opened) == ["d0001"]
    assert opened.describe().document_count == 1


def test_what_was_acknowledged_survives_a_kill_amid_writes(collections, server: MilvusLite):
    collection = collections()
    acknowledged: set[str] = set()
    deleted: set[str] = set()
    enough = threading.Event()

    def write() -> None:
        for number in itertools.count():
            batch = [a_document(10 * number + each) for each in range(10)]
            try:
                collection.upsert(batch)
                acknowledged.update(document.doc_id for document in batch)
                gone = batch[number % 10].doc_id
                collection.delete([gone])
                deleted.add(gone)
            except BackendUnavailableError:
                return
            if number == 8:
                enough.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert enough.wait(60.0)
    server.kill()
    writer.join(60.0)
    server.start()
    found = set(until_found(collection))
    assert len(acknowledged) >= 90
    assert acknowledged - deleted - found == set()
    assert deleted & found == set()
    document = sorted(acknowledged - deleted)[0]
    assert list(collection.fields([document])[document]) == ["title", "text"]


def test_sequence_numbers_go_on_after_a_restart_and_over_a_clock_that_was_set_back(
    own, collections, monkeypatch: pytest.MonkeyPatch
):
    first = own.upsert([a_document(1), a_document(2)])
    assert first.versions == (first.sequence - 1, first.sequence)
    hour = 3_600_000_000
    now = first.sequence - hour
    monkeypatch.setattr("sidecar.recall.milvus.clock._microseconds", lambda: now)
    reopened = collections(reopened=own._record)
    second = reopened.upsert([a_document(3)])
    assert second.sequence > first.sequence
    assert reopened.durable_sequence == second.sequence == second.durable_sequence
    assert reopened.wait_searchable(second.sequence, 0.0)
    assert not reopened.wait_searchable(second.sequence + 1, 0.0)


def test_milvus_own_refusal_is_told_with_its_words(own):
    own._index.drop()
    with pytest.raises(BackendError, match=r"upsert on 'sidecar_things_\d+'"):
        own.upsert([a_document(1)])
    leg = own.lexical("common", None, 10)
    assert leg.reason is StageReason.INDEX_UNAVAILABLE


def test_an_index_that_is_there_is_not_taken(own, server: MilvusLite):
    config = BackendConfig(kind="milvus", url=server.url)
    with pytest.raises(InvalidFieldError, match="which Milvus has already"):
        MilvusCollection.prepare(own._record, config)


@pytest.mark.parametrize("key", ["password_file", "ca_file"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, key: str):
    config = BackendConfig(kind="milvus", url="http://127.0.0.1:1", **{key: str(tmp_path / "no")})
    with pytest.raises(ConfigurationError, match=rf"backends\.shop\.{key}: .*no"):
        Connection("shop", config)


def test_a_closed_one_connects_no_more(own, collections):
    closed = collections(reopened=own._record)
    closed.close()
    leg = closed.lexical("common", None, 10)
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert "is closed" in leg.detail


def test_a_file_is_no_address():
    with pytest.raises(ConfigurationError, match=r"backends\.shop\.url is 'shop\.db'"):
        Connection("shop", BackendConfig(kind="milvus", url="shop.db"))
