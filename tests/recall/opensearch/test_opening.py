"""A collection whose OpenSearch was silent when it was opened: writes wait for one answer."""

from __future__ import annotations

import socket
import threading
import time

import pytest
from recalling import SCHEMA, a_document

from sidecar.config import BackendConfig
from sidecar.errors import BackendUnavailableError
from sidecar.recall.opensearch.collection import OpenSearchCollection
from sidecar.recall.remote import new_record
from sidecar.types import Backend

TIMEOUT_SECONDS = 1.0
CALLERS = 8


@pytest.fixture
def silent_url():
    """It takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


def test_callers_do_not_wait_one_behind_the_other(silent_url: str):
    record = new_record("x", SCHEMA, Backend("cluster", ""), None)
    config = BackendConfig(url=silent_url, timeout_seconds=TIMEOUT_SECONDS)
    collection = OpenSearchCollection.open(record, config, None)
    failures: list[str] = []

    def write(number: int) -> None:
        try:
            collection.upsert([a_document(number)])
        except BackendUnavailableError as error:
            failures.append(error.message)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(CALLERS)]
    started = time.monotonic()
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    # The first waits for the answer; who came a moment before it gave up may be the next to try.
    assert time.monotonic() - started < CALLERS / 2 * TIMEOUT_SECONDS
    assert len(failures) == CALLERS
    assert all("did not answer within 1000 ms" in failure for failure in failures)
    with pytest.raises(BackendUnavailableError):
        collection.upsert([a_document(9)])
    collection.close()
