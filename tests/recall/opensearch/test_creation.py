"""Whose an index is: one that a creation made before it was broken off is taken up by the next try,
that of anybody else never. Against a small double of the answers that matter."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeBiEncoder
from recalling import SCHEMA

from sidecar.config import BackendConfig, Config
from sidecar.errors import BackendUnavailableError, InvalidFieldError, StorageError
from sidecar.recall import backends
from sidecar.recall.catalog import Catalog
from sidecar.recall.migration import moves
from sidecar.recall.migration.ledger import Ledger
from sidecar.recall.migration.migration import Terms
from sidecar.recall.opensearch import creation
from sidecar.recall.remote import new_record
from sidecar.types import Backend

EXISTS = "resource_already_exists_exception"


class Double:
    """Indexes that are empty, by name."""

    def __init__(self) -> None:
        self.indexes: dict[str, Any] = {}
        self.breaks_off = False  # an index is made, and nobody hears of it

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        name, *rest = path.partition("?")[0].strip("/").split("/")
        if method == "PUT":
            return self._make(name, body)
        if name not in self.indexes:
            return 404, {}
        if method == "DELETE":
            del self.indexes[name]
        whole = {"count": 0, "_shards": {"failed": 0, "total": 1, "successful": 1}}
        whole |= {"hits": {"hits": [], "total": {"value": 0}}, "timed_out": False}
        whole |= {"_all": {"total": {"store": {"size_in_bytes": 0}}}}
        return 200, {name: self.indexes[name]} if rest == ["_mapping"] else whole

    def _make(self, name: str, body: Any) -> tuple[int, Any]:
        if name in self.indexes:
            return 400, {"error": {"type": EXISTS, "root_cause": [{"type": EXISTS, "reason": ""}]}}
        self.indexes[name] = body
        return (503 if self.breaks_off else 200), {}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    double: Double

    def answer(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, answer = self.double.answer(self.command, self.path, json.loads(text or b"null"))
        reply = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def double() -> Double:
    return Double()


@pytest.fixture
def config(double: Double) -> Iterator[BackendConfig]:
    answering = type("Answering", (Handler,), {"double": double})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), answering)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield BackendConfig(url=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


def a_catalog(folder: Path, config: BackendConfig) -> Catalog:
    return Catalog.open(folder, FakeBiEncoder(), Config(backends={"cluster": config}))


def test_an_empty_index_of_another_collection_is_not_taken(double: Double, config: BackendConfig):
    """Two sidecars do not know of each other's collections; only the index says whose it is."""
    first = new_record("a", SCHEMA, Backend("cluster", "shop"), None)
    assert creation.prepare(first, config) == first
    second = new_record("b", SCHEMA, Backend("cluster", "shop"), None)
    with pytest.raises(InvalidFieldError, match="was made for another collection") as caught:
        creation.prepare(second, config)
    assert caught.value.field == "backend.index"
    creation.discard(second, config)
    assert list(double.indexes) == ["shop"]
    assert creation.prepare(first, config) == first


def test_an_index_that_its_creation_never_heard_of_is_taken_up(
    tmp_path: Path, double: Double, config: BackendConfig
):
    catalog = a_catalog(tmp_path, config)
    double.breaks_off = True
    with pytest.raises(BackendUnavailableError):
        catalog.create("shop", SCHEMA, Backend("cluster", ""))
    assert list(double.indexes) == ["sidecar-shop"]
    double.breaks_off = False
    catalog.close()
    again = a_catalog(tmp_path, config)
    with pytest.raises(InvalidFieldError, match="was made for another collection"):
        again.create("other", SCHEMA, Backend("cluster", "sidecar-shop"))
    again.create("shop", SCHEMA, Backend("cluster", ""))
    assert not (tmp_path / "collections" / ".creating-shop").exists()
    again.close()


def test_a_server_that_was_killed_before_the_collection_was_there(
    tmp_path: Path, double: Double, config: BackendConfig, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    def killed(*arguments: object) -> None:
        raise Killed

    catalog = a_catalog(tmp_path, config)
    with monkeypatch.context() as patched:
        patched.setattr(backends, "rename_durably", killed)
        patched.setattr(creation, "discard", killed)
        with pytest.raises(Killed):
            catalog.create("shop", SCHEMA, Backend("cluster", ""))
    catalog.close()
    (made,) = double.indexes.values()
    again = a_catalog(tmp_path, config)
    collection = again.create("shop", SCHEMA, Backend("cluster", ""))
    kept = made["mappings"]["_meta"]["sidecar"]["collection_id"]
    assert collection.describe().incarnation == kept
    again.drop("shop")
    assert double.indexes == {}
    again.close()


def test_one_that_cannot_be_opened_leaves_no_index(
    tmp_path: Path, double: Double, config: BackendConfig, monkeypatch: pytest.MonkeyPatch
):
    def refused(*arguments: object) -> None:
        raise BackendUnavailableError("gone")

    catalog = a_catalog(tmp_path, config)
    with monkeypatch.context() as patched:
        patched.setattr(backends, "open_collection", refused)
        with pytest.raises(BackendUnavailableError, match="gone"):
            catalog.create("shop", SCHEMA, Backend("cluster", ""))
    assert double.indexes == {}
    catalog.create("shop", SCHEMA, Backend("cluster", ""))
    assert list(double.indexes) == ["sidecar-shop"]
    catalog.close()


def test_a_migration_that_was_killed_before_its_ledger_was_there(
    tmp_path: Path, double: Double, config: BackendConfig, monkeypatch: pytest.MonkeyPatch
):
    class Killed(BaseException):
        pass

    def killed(*arguments: object) -> None:
        raise Killed

    catalog = a_catalog(tmp_path, config)
    catalog.create("shop", SCHEMA)
    target = Backend("cluster", "")
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "create", killed)
        patched.setattr(creation, "discard", killed)
        with catalog.moving("shop") as moving, pytest.raises(Killed):
            moves.move(moving, target, Terms())
    assert list(double.indexes) == ["sidecar-shop"]
    catalog.close()
    again = a_catalog(tmp_path, config)
    with again.moving("shop") as moving:
        assert moves.move(moving, target, Terms()).backend == Backend("cluster", "sidecar-shop")
    assert [path.name for path in (tmp_path / "collections").iterdir()] == ["shop"]
    again.close()


def test_a_drop_that_the_disk_refuses_deletes_no_index(
    tmp_path: Path, double: Double, config: BackendConfig, monkeypatch: pytest.MonkeyPatch
):
    catalog = a_catalog(tmp_path, config)
    catalog.create("shop", SCHEMA, Backend("cluster", ""))

    def refused(*arguments: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", refused)
        with pytest.raises(StorageError):
            catalog.drop("shop")
    assert list(double.indexes) == ["sidecar-shop"]
    assert catalog.get("shop").stats().document_count == 0
    catalog.drop("shop")
    assert double.indexes == {}
    assert list((tmp_path / "collections").iterdir()) == []
    catalog.close()


def test_a_drop_that_the_backend_does_not_hear_of_leaves_the_collection(
    tmp_path: Path, double: Double, config: BackendConfig, monkeypatch: pytest.MonkeyPatch
):
    catalog = a_catalog(tmp_path, config)
    catalog.create("shop", SCHEMA, Backend("cluster", ""))

    def unheard(*arguments: object) -> None:
        raise BackendUnavailableError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(creation, "discard", unheard)
        with pytest.raises(BackendUnavailableError, match="gone"):
            catalog.drop("shop")
    assert [path.name for path in (tmp_path / "collections").iterdir()] == ["shop"]
    assert catalog.get("shop").stats().document_count == 0
    # A server that was killed after the folder was renamed, started while the backend is down.
    catalog.close()
    (tmp_path / "collections" / "shop").rename(tmp_path / "collections" / ".dropped-1")
    with monkeypatch.context() as patched:
        patched.setattr(creation, "discard", unheard)
        a_catalog(tmp_path, config).close()
    assert list(double.indexes) == ["sidecar-shop"]
    a_catalog(tmp_path, config).close()
    assert double.indexes == {}
    assert list((tmp_path / "collections").iterdir()) == []
