"""The vLLM servers that this sidecar has started: one for each model that is to be served so, and
one beside it while another version takes its place.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator

from sidecar.config import Config
from sidecar.models.vllm.launch import Launch, plan_launch_beside, plan_launches
from sidecar.models.vllm.supervisor import SupervisedServer


class OwnServers:
    """Servers by URL. Thread safe; methods block."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._running: dict[str, SupervisedServer] = {}
        self._launches: dict[str, Launch] = {}  # the first of each role
        self._users: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def start(self, launch: Launch) -> str:
        """The URL of a new server, once it is healthy. Raises ModelError if it does not come up."""
        server = SupervisedServer(launch, self._config.vllm.stop_seconds)
        try:
            server.start(self._config.vllm.start_seconds)
        except BaseException:
            server.stop()
            raise
        with self._lock:
            self._running[launch.url] = server
            self._launches.setdefault(launch.section, launch)
        return launch.url

    def serve(self, section: str) -> bool:
        """Whether the model of a section of the configuration is served by one of these."""
        return section in self._launches

    def start_beside(self, section: str, model: str) -> str:
        """The URL of a new server of the model in a folder, for the role of a section and with its
        share of the card, of which so much has to be free. Raises ModelError."""
        launch = plan_launch_beside(self._launches[section], model, self._config.vllm)
        return self.start(launch)

    def runs(self, url: str) -> bool:
        """Whether a server was started here, and not stopped."""
        return url in self._running

    def use(self, url: str) -> None:
        """One more model is asked for at a server."""
        with self._lock:
            self._users[url] += 1

    def leave(self, url: str) -> None:
        """One less; a server without any is stopped."""
        with self._lock:
            self._users[url] -= 1
            is_last = self._users[url] <= 0
        if is_last:
            self.stop(url)

    def stop(self, url: str) -> None:
        """Ends a server; nothing if it is none of these."""
        with self._lock:
            server = self._running.pop(url, None)
        if server is not None:
            server.stop()

    def stop_all(self) -> None:
        """Ends what is left."""
        for url in list(self._running):
            self.stop(url)


@contextlib.contextmanager
def own_servers(config: Config) -> Iterator[tuple[Config, OwnServers]]:
    """The configuration with the URLs of the servers started for it, and these, which end with the
    context.

    Unchanged without `vllm.start`. Raises ModelError if a server does not come up.
    """
    servers = OwnServers(config)
    try:
        for launch in plan_launches(config) if config.vllm.start else ():
            url = servers.start(launch)
            section = dataclasses.replace(getattr(config, launch.section), vllm_urls=url)
            config = dataclasses.replace(config, **{launch.section: section})
        yield config, servers
    finally:
        servers.stop_all()


@contextlib.contextmanager
def supervised(config: Config) -> Iterator[Config]:
    """The configuration with the URLs of the servers that run as long as the context."""
    with own_servers(config) as (with_urls, _):
        yield with_urls
