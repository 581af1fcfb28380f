"""A backend of the tests' own: what it keeps are embedded collections in another folder.

It is real in all but that it is elsewhere, and it and the steps of a migration can be made to fail.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar.config import BackendConfig, Config
from sidecar.recall import backends
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.creation import create_folder
from sidecar.recall.migration.ledger import Ledger
from sidecar.storage.files import remove_tree
from sidecar.types import Backend

BACKEND = Backend("elsewhere", "")
READS = ("get", "stats", "wait_searchable")


class Killed(BaseException):
    """The server ended here."""


class Elsewhere(EmbeddedCollection):
    """What is kept there."""

    record: Any = None
    before: Callable[[str], None] = staticmethod(lambda step: None)

    def describe(self):
        described = super().describe()
        own = {"incarnation": self.record.collection_id, "backend": self.record.backend}
        return dataclasses.replace(described, name=self.record.name, **own)

    @property
    def name(self) -> str:
        return self.record.name

    def upsert(self, *arguments: Any, **more: Any):
        self.before("upsert")
        written = super().upsert(*arguments, **more)
        self.before("upserted")
        return written

    def delete(self, *arguments: Any, **more: Any):
        self.before("delete")
        written = super().delete(*arguments, **more)
        self.before("deleted")
        return written

    def get(self, *arguments: Any, **more: Any):
        self.before("get")
        return super().get(*arguments, **more)

    def stats(self):
        self.before("stats")
        return super().stats()

    def wait_searchable(self, *arguments: Any, **more: Any):
        self.before("wait_searchable")
        return super().wait_searchable(*arguments, **more)

    def retire(self) -> None:
        super().retire()
        remove_tree(self.folder)


class Place:
    """A folder of collections that are elsewhere. `fail(step)` is called before steps."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        self.fail: Callable[[str], None] = lambda step: None
        self.config = Config(backends={"elsewhere": BackendConfig("opensearch", "http://no.where")})
        module = types.ModuleType("elsewhere_kind")
        module.Kind = self  # type: ignore[attr-defined]
        monkeypatch.setitem(__import__("sys").modules, "elsewhere_kind", module)
        monkeypatch.setitem(backends._KINDS, "opensearch", ("elsewhere_kind", "Kind"))
        for name in ("announce", "advance", "enter"):
            self._watch(monkeypatch, Ledger, name)
        from sidecar.recall.migration import moves

        for name in ("write_or_withdraw", "remove_record"):
            self._watch(monkeypatch, moves, name)

    def prepare(self, record: Any, config: BackendConfig) -> Any:
        self.fail("prepare")
        create_folder(self.folder / record.name, record.name, record.schema, record.bi_encoder)
        return record

    def discard(self, record: Any, config: BackendConfig) -> None:
        remove_tree(self.folder / record.name)

    def open(self, record: Any, config: BackendConfig, bi_encoder: Any) -> Elsewhere:
        there = Elsewhere.open(self.folder / record.name, bi_encoder, Config())
        there.record, there.before = record, lambda step: self.fail(step)
        return there

    def _watch(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        step = getattr(owner, name)

        def watched(*arguments: Any, **more: Any) -> Any:
            self.fail(f"before {name}")
            done = step(*arguments, **more)
            self.fail(f"after {name}")
            return done

        monkeypatch.setattr(owner, name, watched)


def counting(fail_at: int) -> tuple[Callable[[str], None], list[str]]:
    """Ends the server at the step of a number, of those that change something; those that were
    made."""
    steps: list[str] = []

    def fail(step: str) -> None:
        if step in READS:
            return
        steps.append(step)
        if len(steps) == fail_at:
            raise Killed(step)

    return fail, steps


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An empty one."""
    return Place(tmp_path / "elsewhere", monkeypatch)
