"""HTTP to an OpenSearch cluster: JSON in and out, within a time, by the nodes that are up.

A request that a node did not take, or broke off, goes to the next one: all that is asked here may
be asked twice. One that is not answered in time is not sent again: a leg has its time once.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sidecar.config import BackendConfig
from sidecar.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    OverloadedError,
)

CONNECT_SECONDS = 2.0
# A node that did not answer is asked after all others for so long.
AVOIDED_SECONDS = 5.0
KEPT_CONNECTIONS = 32
LEAST_SECONDS = 0.001
_FULL = 429
_UNAVAILABLE = (502, 503, 504)


class RefusedError(BackendError):
    """What OpenSearch answers with a status of 400 or more; `kind` is its name for it."""

    def __init__(self, message: str, status: int, kind: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class Client:
    """For one backend. Its calls block and may come from any thread."""

    def __init__(self, name: str, config: BackendConfig) -> None:
        """Raises ConfigurationError for addresses, password and certificates that cannot be."""
        self._name = name
        self._seconds = config.timeout_seconds
        self._headers = _headers(name, config)
        self._nodes = [_Node(each, config.ca_file) for each in _addresses(name, config.url)]
        self._first = 0

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        timeout_seconds: float | None = None,
        missing_is_none: bool = False,
    ) -> Any:
        """The answer to a request. `body` is sent as JSON, a list of lines as it is.

        Raises RefusedError for a status of 400 or more (None for 404 if that is asked for),
        BackendUnavailableError if nothing answered in time, OverloadedError if it is full.
        """
        seconds = self._seconds if timeout_seconds is None else timeout_seconds
        status, text = self._exchange(method, path, _to_bytes(body), max(seconds, LEAST_SECONDS))
        if status == 404 and missing_is_none:
            return None
        if status >= 400:
            raise self._refusal(status, text)
        try:
            return json.loads(text) if text else None
        except ValueError as error:
            raise BackendError(f"{self._name}: the answer is not JSON: {error}") from error

    def close(self) -> None:
        """Closes idle connections."""
        for node in self._nodes:
            node.close()

    def _exchange(
        self, method: str, path: str, body: bytes | None, seconds: float
    ) -> tuple[int, bytes]:
        end = time.monotonic() + seconds
        faults: list[str] = []
        for node in self._in_turn():
            left = end - time.monotonic()
            if faults and left <= 0.0:
                break
            try:
                return node.exchange(method, path, body, self._headers, max(left, LEAST_SECONDS))
            except TimeoutError as error:
                node.avoid()
                raise BackendUnavailableError(
                    f"backend {self._name!r}: {node.address} did not answer within "
                    f"{seconds * 1000.0:.0f} ms"
                ) from error
            except (NotTakenError, OSError, http.client.HTTPException) as error:
                node.avoid()
                faults.append(f"{node.address}: {str(error) or type(error).__name__}")
        raise BackendUnavailableError(
            f"backend {self._name!r} cannot be reached: {'; '.join(faults)}"
        )

    def _in_turn(self) -> list[_Node]:
        """The nodes, each call beginning with another one, those to be avoided last."""
        self._first += 1
        count = len(self._nodes)
        turned = [self._nodes[(self._first + place) % count] for place in range(count)]
        return sorted(turned, key=lambda node: node.is_avoided)

    def _refusal(self, status: int, text: bytes) -> Exception:
        kind, reason = _cause(text)
        message = f"backend {self._name!r} answered {status}: {reason or kind}"
        if status == _FULL:
            return OverloadedError(message, 1.0)
        if status in _UNAVAILABLE:
            return BackendUnavailableError(message)
        return RefusedError(message, status, kind)


class NotTakenError(Exception):
    """Nothing of the request can have been done."""


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a node is."""

    host: str
    port: int
    prefix: str
    encrypted: bool


class _Node:
    """One address and the idle connections to it."""

    def __init__(self, address: _Address, ca_file: str) -> None:
        self.address = f"{address.host}:{address.port}"
        self._where = address
        self._tls = _tls(ca_file) if address.encrypted else None
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()
        self._avoided_until = 0.0

    @property
    def is_avoided(self) -> bool:
        """Whether it did not answer lately."""
        return time.monotonic() < self._avoided_until

    def avoid(self) -> None:
        """It did not answer."""
        self._avoided_until = time.monotonic() + AVOIDED_SECONDS

    def exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str], seconds: float
    ) -> tuple[int, bytes]:
        """Status and body. Raises NotTakenError, OSError, HTTPException."""
        end = time.monotonic() + seconds
        with self._connection(seconds) as (connection, is_used):
            try:
                return self._on(connection, method, path, body, headers, end)
            except ConnectionError:
                if not is_used:
                    raise
            # It was closed while it was idle; what is asked here may be asked twice.
            connection.close()
            return self._on(connection, method, path, body, headers, end)

    def close(self) -> None:
        """Closes idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        end: float,
    ) -> tuple[int, bytes]:
        left = max(end - time.monotonic(), LEAST_SECONDS)
        if connection.sock is None:
            connection.timeout = left
            _connect(connection)
        else:
            connection.sock.settimeout(left)
        connection.request(method, self._where.prefix + path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()

    @contextlib.contextmanager
    def _connection(self, seconds: float) -> Iterator[tuple[http.client.HTTPConnection, bool]]:
        """A connection, and whether it was used before; kept for the next one if all went well."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        is_used = connection is not None
        if connection is None:
            connection = self._new(min(seconds, CONNECT_SECONDS))
        try:
            yield connection, is_used
        except BaseException:
            connection.close()
            raise
        self._keep(connection)

    def _keep(self, connection: http.client.HTTPConnection) -> None:
        if connection.sock is None:  # closed with the answer: "Connection: close"
            return
        with self._lock:
            if len(self._idle) < KEPT_CONNECTIONS:
                self._idle.append(connection)
                return
        connection.close()

    def _new(self, seconds: float) -> http.client.HTTPConnection:
        where = self._where
        connection: http.client.HTTPConnection
        if self._tls is None:
            connection = http.client.HTTPConnection(where.host, where.port, timeout=seconds)
        else:
            connection = http.client.HTTPSConnection(
                where.host, where.port, timeout=seconds, context=self._tls
            )
        _connect(connection)
        return connection


def _connect(connection: http.client.HTTPConnection) -> None:
    """Raises NotTakenError."""
    try:
        connection.connect()
    except OSError as error:
        connection.close()
        raise NotTakenError(str(error) or repr(error)) from error


def _addresses(name: str, url: str) -> list[_Address]:
    found = []
    for each in url.split(","):
        parts = urlsplit(each.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigurationError(
                f"backends.{name}.url has {each.strip()!r}: write it as http://HOST:PORT or "
                "https://HOST:PORT, user and password in their own keys"
            )
        encrypted = parts.scheme == "https"
        port = parts.port or 9200
        found.append(_Address(parts.hostname, port, parts.path.rstrip("/"), encrypted))
    return found


def _headers(name: str, config: BackendConfig) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if config.user:
        try:
            password = (
                Path(config.password_file).read_text().strip() if config.password_file else ""
            )
        except OSError as error:
            raise ConfigurationError(
                f"backends.{name}.password_file: {config.password_file}: {error.strerror}"
            ) from error
        pair = base64.b64encode(f"{config.user}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {pair}"
    return headers


def _tls(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise ConfigurationError(f"ca_file: {ca_file}: {error.strerror}") from error


def _to_bytes(body: object) -> bytes | None:
    if body is None:
        return None
    if isinstance(body, list):
        return "\n".join([*body, ""]).encode()
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _cause(text: bytes) -> tuple[str, str]:
    """OpenSearch's name for an error, and its words."""
    try:
        error = json.loads(text)["error"]
        if isinstance(error, str):
            return "", error
        cause = (error.get("root_cause") or [error])[0]
        return str(error["type"]), f"{cause['type']}: {cause['reason']}"
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return "", text[:200].decode(errors="replace")
