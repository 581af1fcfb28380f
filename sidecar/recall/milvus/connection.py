"""Calls to one Milvus: bounded in time, tried once, and their failures in words.

pymilvus by itself tries a call again for as long as its timeout lasts, with pauses and with new
connections that are made beyond it. A leg has no use for that: it fails, the answer is degraded.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

from pymilvus import MilvusClient, MilvusException

from sidecar.config import BackendConfig
from sidecar.errors import (
    BackendError,
    BackendUnavailableError,
    ConfigurationError,
    OverloadedError,
)

# Of milvus-io/milvus, pkg/util/merr: "collection not found", "collection not loaded", "rate limit".
NOT_FOUND, NOT_LOADED, RATE_LIMIT = 100, 101, 8
# pymilvus' own: a connection that could not be made.
_NOT_CONNECTED = 2
# gRPC's pauses between attempts to connect, in which calls fail, grow to minutes by default. Each
# call has an end of its own, and pymilvus pings more often than a server accepts by default, which
# then hangs up.
_GRPC_OPTIONS = {
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 250,
    "grpc.keepalive_time_ms": 2**31 - 1,
}

# It logs each failed call with its stack; the error that the caller gets says the same.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


class Connection:
    """Of one backend of the configuration. Connects with the first call, and anew as needed."""

    def __init__(self, name: str, config: BackendConfig) -> None:
        """Raises ConfigurationError for a file that cannot be read."""
        self._name = name
        self._config = config
        self._options = _options(name, config)
        self._connecting = threading.Lock()
        self._client: MilvusClient | None = None
        self._is_closed = False

    @property
    def timeout_seconds(self) -> float:
        """The longest time for one answer."""
        return self._config.timeout_seconds

    @property
    def shards(self) -> int:
        """Of a collection that is created."""
        return self._config.shards

    def call(
        self, method: str, collection: str, *, timeout_seconds: float | None = None, **options: Any
    ) -> Any:
        """A method of MilvusClient on a collection, which is loaded if it is not.

        Raises BackendUnavailableError if it is not answered within `timeout_seconds`, at most
        those of the configuration; OverloadedError if Milvus is full, BackendError if it refuses.
        """
        longest = self.timeout_seconds
        end = time.monotonic() + min(longest, timeout_seconds or longest)
        try:
            client = self._connected(end)
            try:
                return self._once(client, method, collection, end, options)
            except MilvusException as error:
                if error.code != NOT_LOADED:
                    raise
            self._once(client, "load_collection", collection, end, {})
            return self._once(client, method, collection, end, options)
        except Exception as error:
            self._fail(method, collection, error)

    def close(self) -> None:
        """Ends the connection; later calls raise BackendUnavailableError. May be called twice."""
        with self._connecting:
            self._is_closed = True
            if self._client is not None:
                self._client.close()
                self._client = None

    def _connected(self, end: float) -> MilvusClient:
        client = self._client
        if client is not None:
            return client
        if not self._connecting.acquire(timeout=max(0.0, end - time.monotonic())):
            raise _UnreachableError("no connection in time")
        try:
            if self._is_closed:
                raise _UnreachableError("the collection is closed")
            if self._client is None:
                self._client = self._connect(end)
            return self._client
        finally:
            self._connecting.release()

    def _connect(self, end: float) -> MilvusClient:
        client = MilvusClient(self._config.url, timeout=_left(end), dedicated=True, **self._options)
        # What it does when a call fails: make a new connection, then try again. gRPC does the
        # former by itself.
        client._get_connection()._on_rpc_error = _give_up
        return client

    @staticmethod
    def _once(
        client: MilvusClient, method: str, collection: str, end: float, options: dict[str, Any]
    ) -> Any:
        return getattr(client, method)(
            collection, timeout=_left(end), retry_on_rate_limit=False, **options
        )

    def _fail(self, method: str, collection: str, error: Exception) -> NoReturn:
        where = f"backend {self._name!r} (Milvus at {self._config.url})"
        code, text = _reading(error)
        if code is None:
            raise BackendUnavailableError(f"{where} cannot be reached: {text}") from error
        if code == RATE_LIMIT:
            raise OverloadedError(f"{where} is full: {text}", 1.0) from error
        raise BackendError(
            f"{where}, {method} on {collection!r}: {text}", backend=self._name, index=collection
        ) from error


class _UnreachableError(Exception):
    """What gRPC said, past pymilvus' attempts to make it better."""


def _give_up(error: Exception) -> bool:
    """In the place of what pymilvus does about a failure."""
    if isinstance(error, MilvusException):
        return False  # an answer, and not to be asked for again
    raise _UnreachableError(_grpc_text(error)) from error


def _reading(error: Exception) -> tuple[int | None, str]:
    """Milvus' code, None if it did not answer, and its words."""
    for cause in _causes(error):
        if isinstance(cause, _UnreachableError):
            return None, str(cause)
        if hasattr(cause, "details"):  # grpc.RpcError, a floor up
            return None, _grpc_text(cause)
    if isinstance(error, MilvusException):
        return (None if error.code == _NOT_CONNECTED else error.code), error.message
    return -1, f"{type(error).__name__}: {error}"


def _causes(error: BaseException) -> list[BaseException]:
    """An error and what it stems from. pymilvus raises errors "from" themselves: a ring."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is each for each in causes):
        causes.append(cause)
        cause = cause.__cause__
    return causes


def _grpc_text(error: Any) -> str:
    return f"{error.code().name}: {error.details()}"


def _left(end: float) -> float:
    # Never nothing: gRPC takes 0 for a deadline that has passed, and says so.
    return max(0.001, end - time.monotonic())


def _options(name: str, config: BackendConfig) -> dict[str, Any]:
    if not config.url.startswith(("http://", "https://")):
        # pymilvus takes the name of a file, too, and starts a milvus-lite in this process.
        raise ConfigurationError(
            f"backends.{name}.url is {config.url!r}: give http://HOST:PORT or https://HOST:PORT"
        )
    options: dict[str, Any] = {"grpc_options": _GRPC_OPTIONS}
    if config.password_file:
        secret = _read(name, "password_file", config.password_file)
        options["token"] = f"{config.user}:{secret}" if config.user else secret
    if config.ca_file:
        _read(name, "ca_file", config.ca_file)
        options |= {"secure": True, "server_pem_path": config.ca_file}
    elif config.url.startswith("https://"):
        options["secure"] = True
    return options


def _read(name: str, key: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"backends.{name}.{key}: {path}: {error}") from error
