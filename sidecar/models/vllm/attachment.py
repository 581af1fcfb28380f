"""The servers of one model and the loop they live on, from attaching to closing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import aiohttp

from sidecar.config import VllmConfig
from sidecar.errors import ConfigurationError
from sidecar.models.vllm.client import VllmServer, open_session
from sidecar.models.vllm.loop_thread import LoopThread
from sidecar.models.vllm.replicas import Question, Replicas, Verify

T = TypeVar("T")


def split_urls(text: str) -> tuple[str, ...]:
    """The URLs of a `vllm_urls`. Raises ConfigurationError for one that is none."""
    urls = tuple(url.strip().rstrip("/") for url in text.split(",") if url.strip())
    for url in urls or [text]:
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"vllm_urls has {url!r}: give URLs such as http://gpu-1:8000, separated by commas"
            )
    return urls


class Attachment:
    """Asks the servers of a model, from any loop or thread. Close it."""

    def __init__(self, model: str, urls: Sequence[str], verify: Verify, config: VllmConfig) -> None:
        """Blocks for at most `attach_seconds`.

        Raises ModelError if servers answer, but none passes `verify`.
        """
        self.replica_count = len(urls)
        self._loop = LoopThread(f"vllm {model}")
        self._session: aiohttp.ClientSession | None = None
        try:
            self._replicas = self._loop.run(self._open(model, urls, verify, config))
            self._loop.run(self._replicas.attach(config.attach_seconds))
        except BaseException:
            self.close()
            raise

    async def ask(self, tokens: int, question: Question[T]) -> T:
        """As `Replicas.ask`, from the caller's loop."""
        return await self._loop.ask(self._replicas.ask(tokens, question))

    def ask_all(self, questions: Sequence[tuple[int, Question[T]]], limit: int) -> list[T]:
        """The answers of several (tokens, question), `limit` at a time, from a thread."""
        return self._loop.run(self._replicas.ask_all(questions, limit))

    def tell_all(self, question: Question[None]) -> None:
        """Asks every server that is up, from a thread."""
        self._loop.run(self._replicas.tell_all(question))

    @property
    def is_served(self) -> bool:
        """Whether a server is up."""
        return self._replicas.is_served

    def close(self) -> None:
        """Ends what is under way and the connections."""
        session, self._session = self._session, None
        if session is not None:
            self._loop.cancel_all()
            self._loop.run(session.close())
        self._loop.close()

    async def _open(
        self, model: str, urls: Sequence[str], verify: Verify, config: VllmConfig
    ) -> Replicas:
        self._session = open_session(config.timeout_seconds, config.api_key)
        servers = [VllmServer(url, self._session) for url in urls]
        return Replicas(model, servers, verify, config)
