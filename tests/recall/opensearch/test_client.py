"""The client against real sockets: which node is asked, how long, and what is made of answers."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidecar.config import BackendConfig
from sidecar.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    OverloadedError,
)
from sidecar.recall.opensearch.client import Client, RefusedError

Answer = Callable[[http.server.BaseHTTPRequestHandler], tuple[int, bytes]]


@contextmanager
def a_node(answer: Answer) -> Iterator[str]:
    """An HTTP server that answers so; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = answer(self)
            if status == 0:  # breaks the connection off
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            if status == 298:  # says that it closes it
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(text)
            self.close_connection = status == 299  # closes it once it is idle

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def a_client(*urls: str, **keys: object) -> Iterator[Client]:
    client = Client("cluster", BackendConfig(url=",".join(urls), **keys))  # type: ignore[arg-type]
    try:
        yield client
    finally:
        client.close()


def closed_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def said(text: str, status: int = 200) -> Answer:
    return lambda request: (status, text.encode())


def test_json_there_and_back_over_one_connection():
    seen = []

    def answer(request):
        seen.append((request.command, request.path, request.body, request.client_address))
        return 200, b'{"a": [1]}'

    with a_node(answer) as url, a_client(url) as client:
        assert client.call("POST", "/x", {"ä": 1}) == {"a": [1]}
        assert client.call("POST", "/y", ['{"b":2}', '{"c":3}']) == {"a": [1]}
    assert [each[:3] for each in seen] == [
        ("POST", "/x", '{"ä":1}'.encode()),
        ("POST", "/y", b'{"b":2}\n{"c":3}\n'),
    ]
    assert seen[0][3] == seen[1][3]


def test_a_connection_that_was_closed_while_idle_is_made_anew():
    with a_node(said("1", 299)) as url, a_client(url) as client:
        assert [client.call("GET", "/") for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("every", [1, 2])
def test_a_connection_that_the_answer_says_is_closed_is_not_kept(every: int):
    asked: list[tuple[str, int]] = []

    def answer(request):
        asked.append(request.client_address)
        return (200 if len(asked) % every else 298), b"1"

    with a_node(answer) as url, a_client(url) as client:
        assert [client.call("GET", "/") for _ in range(6)] == [1] * 6
    assert len(set(asked)) == 6 // every


def test_a_node_that_is_down_or_breaks_off_is_passed_over_and_asked_last():
    asked = []

    def breaks_off(request):
        asked.append(request.path)
        return 0, b""

    with (
        a_node(breaks_off) as broken,
        a_node(said('"here"')) as url,
        a_client(closed_port(), broken, url) as client,
    ):
        assert {client.call("GET", f"/{turn}") for turn in range(9)} == {"here"}
    assert len(asked) <= 1


def test_when_no_node_is_up_all_are_named():
    urls = [closed_port(), closed_port()]
    with a_client(*urls) as client, pytest.raises(BackendUnavailableError) as caught:
        client.call("GET", "/")
    assert all(url.removeprefix("http://") in caught.value.message for url in urls)
    assert caught.value.retry_seconds > 0


def test_one_that_is_silent_takes_the_time_that_it_has_and_no_more():
    gate = threading.Event()

    def silent(request):
        gate.wait(30)
        return 200, b"1"

    with a_node(silent) as url, a_node(said("2")) as other, a_client(url, other) as client:
        started = time.monotonic()
        outcomes = []
        for _ in range(2):
            try:
                outcomes.append(client.call("GET", "/", timeout_seconds=0.2))
            except BackendUnavailableError as error:
                outcomes.append(error.message)
        assert time.monotonic() - started < 5.0
        gate.set()
    assert 2 in outcomes
    assert [each for each in outcomes if each != 2 and "did not answer within 200 ms" in each]


def test_what_it_refuses_is_told_by_kind():
    error = {"type": "x_exception", "reason": "all", "root_cause": [{"type": "y", "reason": "why"}]}
    body = json.dumps({"error": error})
    for status, kind in (
        (400, RefusedError),
        (404, RefusedError),
        (429, OverloadedError),
        (503, BackendUnavailableError),
    ):
        with a_node(said(body, status)) as url, a_client(url) as client:
            with pytest.raises(kind) as caught:
                client.call("GET", "/")
            assert f"answered {status}: y: why" in str(caught.value)
            if status == 404:
                assert caught.value.kind == "x_exception"
                assert client.call("GET", "/", missing_is_none=True) is None


@pytest.mark.parametrize("text", ["<html>", '{"error": 5}', '{"error": {"type": 1}}', "[]"])
def test_answers_that_are_none_of_opensearchs(text: str):
    for status, says in ((418, "answered 418"), (200, "is not JSON")):
        with (
            a_node(said(text if status == 418 else "<html>", status)) as url,
            a_client(url) as client,
            pytest.raises(BackendError, match=says),
        ):
            client.call("GET", "/")


def test_who_asks_is_told(tmp_path: Path):
    seen = []

    def answer(request):
        seen.append(request.headers["Authorization"])
        return 200, b""

    password = tmp_path / "password"
    password.write_text("s3cret\n")
    keys = {"user": "reader", "password_file": str(password)}
    with a_node(answer) as url, a_client(url, **keys) as client:
        assert client.call("GET", "/") is None
    assert seen == ["Basic " + base64.b64encode(b"reader:s3cret").decode()]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"url": "10.0.0.1:9200"}, "write it as http://HOST:PORT"),
        ({"url": "http://u:p@h:1"}, "user and password in their own keys"),
        ({"url": "http://h:1", "user": "u", "password_file": "/none"}, "password_file: /none"),
        ({"url": "https://h:1", "ca_file": "/none"}, "ca_file: /none"),
    ],
)
def test_a_configuration_that_cannot_be(keys, says):
    with pytest.raises(ConfigurationError) as caught:
        Client("cluster", BackendConfig(**keys))
    assert says in caught.value.message
