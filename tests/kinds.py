"""The kinds of collections that the contract suite is run against: each in its own server, or here.

A kind that cannot be had on a machine is skipped with the reason, or fails under
SIDECAR_REQUIRE_ENGINES=1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeBiEncoder

from sidecar.config import BackendConfig, Config
from sidecar.recall.catalog import Catalog
from sidecar.types import Backend, Schema


@dataclass
class Kind:
    """How collections of a kind are made and opened again.

    `lacks` are what it refuses with UnsupportedError: "conditions", "request ids", "facets" ...
    `differs`: in what the server that the tests have is unlike the one that it stands for.
    `disturb` ends the server that keeps it as SIGKILL does, and starts it again; None: there is
    none but the sidecar itself.
    """

    name: str
    backend: Backend | None = None
    config: Config = field(default_factory=Config)
    lacks: frozenset[str] = frozenset()
    differs: frozenset[str] = frozenset()
    disturb: Callable[[], None] | None = None

    def open(self, folder: Path, bi_encoder: Any = None) -> Catalog:
        """A catalog whose collections are of this kind."""
        return Catalog.open(folder, bi_encoder or FakeBiEncoder(), self.config)

    def create(self, catalog: Catalog, name: str, schema: Schema) -> Any:
        """A new collection."""
        return catalog.create(name, schema, self.backend)


def embedded() -> Kind:
    """In the server's own folder."""
    return Kind("embedded")


def remote(kind: str, url: str, **more: Any) -> Kind:
    """Kept by a server at an address."""
    config = Config(backends={"tests": BackendConfig(kind=kind, url=url)})
    return Kind(kind, Backend("tests", ""), config, **more)


def give_up(why: str) -> None:
    """Skips a test for what its machine lacks; fails it where nothing may lack."""
    if os.environ.get("SIDECAR_REQUIRE_ENGINES") == "1":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
