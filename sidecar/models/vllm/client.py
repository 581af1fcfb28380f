"""One vLLM server over HTTP: health, the model it serves, scores, vectors.

The fields are those of vLLM 0.32; `queries` and `documents` of equal length are pairs (N:N). Scores
are asked for without an activation, so they are logits. Closing the connection, which a cancelled
request does, aborts it in vLLM.
"""

from __future__ import annotations

import base64
import binascii
import enum
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np

from sidecar.models.base import Scores, TextPair, Vectors

CONNECT_SECONDS = 2.0
# Below uvicorn's 5 s: a connection that the server is about to close is not used again.
KEEPALIVE_SECONDS = 2.0
_MESSAGE_CHARACTERS = 300
_log = logging.getLogger(__name__)


class Fault(enum.Enum):
    """What a server did instead of answering."""

    REFUSED = "refused"  # 4xx: it is what was asked, a pair may be the cause
    FAILED = "failed"  # 5xx or no answer in its form: a pair may be the cause
    FULL = "full"  # 429, 502, 503, 504
    GONE = "gone"  # no connection, or one that broke
    SLOW = "slow"  # no answer in time


class ServerFault(Exception):
    """A server gave no answer."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as its server describes it: `max_tokens` is its longest input, 0 if it says none."""

    name: str
    max_tokens: int


def open_session(timeout_seconds: float, api_key: str) -> aiohttp.ClientSession:
    """Connections without bound: each request under way has its own."""
    return aiohttp.ClientSession(
        headers={"Authorization": f"Bearer {api_key}"} if api_key else None,
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=CONNECT_SECONDS),
    )


class VllmServer:
    """One server. Every method raises ServerFault instead of answering wrongly."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url.rstrip("/")
        self._session = session

    async def check_health(self, timeout_seconds: float) -> None:
        """Returns if it answers that its engine runs."""
        await self._ask("GET", "/health", timeout_seconds=timeout_seconds)

    async def served_model(self) -> ServedModel:
        """The model that it was started with (adapters come after it)."""
        answer = _json(await self._ask("GET", "/v1/models"))
        try:
            first = answer["data"][0]
            return ServedModel(str(first["id"]), int(first.get("max_model_len") or 0))
        except (LookupError, TypeError, ValueError) as error:
            raise ServerFault(Fault.FAILED, f"/v1/models lists no model: {error!r}") from error

    async def load_adapter(self, name: str, path: str) -> None:
        """Makes it serve an adapter in a folder that it can read, under a name of its own."""
        await self._ask("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})

    async def unload_adapter(self, name: str) -> None:
        """Makes it forget an adapter."""
        await self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    async def score(self, model: str, pairs: Sequence[TextPair]) -> Scores:
        """Logits (pairs,) in order."""
        asked = {
            "model": model,
            "queries": [pair.query for pair in pairs],
            "documents": [pair.passage for pair in pairs],
            "use_activation": False,
        }
        answer = _json(await self._ask("POST", "/score", asked))
        scores = [_logit(each["score"]) for each in _rows(answer, len(pairs), "score")]
        return np.array(scores, dtype=np.float32)

    async def embed(self, model: str, ids: Sequence[Sequence[int]]) -> Vectors:
        """Vectors (texts, dimensions) of tokenized texts, special tokens included."""
        asked = {"model": model, "input": [list(each) for each in ids], "encoding_format": "base64"}
        answer = _json(await self._ask("POST", "/v1/embeddings", asked))
        rows = [_vector(each["embedding"]) for each in _rows(answer, len(ids), "embedding")]
        if len({len(row) for row in rows}) > 1:
            raise ServerFault(Fault.FAILED, "/v1/embeddings gave vectors of several lengths")
        return np.stack(rows)

    async def _ask(
        self, method: str, path: str, asked: Any = None, timeout_seconds: float | None = None
    ) -> bytes:
        """The body of a 200."""
        limits: dict[str, Any] = {}
        if timeout_seconds is not None:
            limits["timeout"] = aiohttp.ClientTimeout(total=timeout_seconds)
        try:
            async with self._session.request(
                method, self.url + path, json=asked, **limits
            ) as answer:
                body = await answer.read()
                if answer.status == 200:
                    return body
        except aiohttp.ConnectionTimeoutError as error:
            raise ServerFault(Fault.GONE, f"{self.url} takes no connection") from error
        except TimeoutError as error:
            raise ServerFault(Fault.SLOW, f"{self.url}{path} gave no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ServerFault(Fault.GONE, f"{self.url}{path}: {error!r}") from error
        raise ServerFault(_fault_of(answer.status), _refusal(path, answer.status, body))


def _fault_of(status: int) -> Fault:
    if status in (429, 502, 503, 504):
        return Fault.FULL
    return Fault.FAILED if status >= 500 else Fault.REFUSED


def _refusal(path: str, status: int, body: bytes) -> str:
    """The server's own sentence, without the envelope.

    What is not vLLM's (a page of a proxy between) goes into the log, not to callers.
    """
    text = body.decode("utf-8", "replace")
    try:
        message = str(json.loads(text)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        _log.warning("%s answered %d with %r", path, status, text[:_MESSAGE_CHARACTERS])
        return f"vLLM answers {path} with {status} and no message"
    return f"vLLM answers {path} with {status}: {message[:_MESSAGE_CHARACTERS]}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise ServerFault(Fault.FAILED, "vLLM's answer is not JSON") from error


def _rows(answer: Any, count: int, key: str) -> list[Any]:
    """The `count` rows of an answer by their index, each with `key`."""
    try:
        rows = sorted(answer["data"], key=lambda row: int(row["index"]))
        if [row["index"] for row in rows] == list(range(count)) and all(key in r for r in rows):
            return rows
    except (LookupError, TypeError, ValueError):
        pass
    raise ServerFault(Fault.FAILED, f"vLLM's answer has not one {key} for each of {count} inputs")


def _logit(value: Any) -> float:
    """NaN for what is no number: that pair failed."""
    return float(value) if isinstance(value, int | float) else float("nan")


def _vector(text: Any) -> Vectors:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    except (binascii.Error, TypeError, ValueError) as error:
        raise ServerFault(Fault.FAILED, "/v1/embeddings gave no base64 of float32") from error
