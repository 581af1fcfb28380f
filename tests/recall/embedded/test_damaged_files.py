"""A flipped bit, a cut tail, a missing file: every file of a collection, one at a time.

What a start and a check say of it is compared with a dictionary of what was acknowledged. Damage
may be harmless, mended from the documents, refused, or found. What is cut off the end of the
write-ahead log is on no disk any more: then the loss must be said (an index had it). What may never
be is that something is lost or changed and nobody says so. SIDECAR_DAMAGE_PLACES asks for more
flips of each file (ten times as many of the documents). `pytest -s` prints the table: how often
what was said of which kind of file.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import FakeBiEncoder
from recalling import SCHEMA, WAIT_SECONDS, a_document, assert_same, scanned

from sidecar.config import Config
from sidecar.errors import SidecarError
from sidecar.recall.catalog import Catalog

PLACES = int(os.environ.get("SIDECAR_DAMAGE_PLACES", "4"))
IDS = [f"d{n:04}" for n in range(60)]
Damage = Callable[[Path], None]


def flip(place: float) -> Damage:
    """A bit at a place from 0 to 1."""

    def planted(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(place * (len(content) - 1))] ^= 1 << int(place * 977) % 8
        path.write_bytes(content)

    return planted


def keep(share: float) -> Damage:
    """Cut to a share of its bytes, by one byte at least."""

    def planted(path: Path) -> None:
        size = path.stat().st_size
        os.truncate(path, min(int(size * share), size - 1))

    return planted


def damages(path: Path, rng: random.Random) -> Iterator[tuple[str, Damage]]:
    """What is done to a file."""
    for _ in range(PLACES * 10 if path.name == "documents.sqlite" else PLACES):
        yield "bit flipped", flip(rng.random())
    yield "cut", keep(0.5)
    yield "cut", keep(1.0)
    yield "empty", keep(0.0)
    yield "missing", Path.unlink


@pytest.fixture(scope="module", params=["closed", "killed"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a catalog with a collection, as a server leaves it."""
    folder = tmp_path_factory.mktemp(request.param)
    catalog = Catalog.open(folder, FakeBiEncoder(), Config())
    collection = catalog.create("things", SCHEMA)
    collection.upsert([a_document(n, f"old{n}", year=n) for n in range(40)])
    written = collection.delete(IDS[::7])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    if request.param == "closed":
        catalog.close()
        catalog = Catalog.open(folder, FakeBiEncoder(), Config())
        collection = catalog.get("things")
    written = collection.upsert([a_document(n, f"new{n}", year=n) for n in range(30, 60)])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    if request.param == "closed":
        catalog.close()
        return folder
    shutil.copytree(folder, folder / "copy")
    catalog.close()
    return folder / "copy"


def acknowledged() -> dict[str, str]:
    held = {f"d{n:04}": f"old{n}" for n in range(40)}
    for doc_id in IDS[::7]:
        held.pop(doc_id, None)
    return held | {f"d{n:04}": f"new{n}" for n in range(30, 60)}


def said_of(folder: Path) -> str:
    """What a start and a check say: harmless, mended, refused, found, or a loss."""
    try:
        catalog = Catalog.open(folder, FakeBiEncoder(), Config())
    except SidecarError:
        return "refused"
    try:
        if error := catalog.unopened().get("things"):
            assert str(folder) in error.message
            return "refused"
        return _said_by(catalog)
    except SidecarError:
        return "refused"
    finally:
        catalog.close()


def _said_by(catalog: Catalog) -> str:
    if [each.name for each in catalog.list()] != ["things"]:
        return "LOST: the collection"
    collection = catalog.get("things")
    repairs = list(collection.repairs)
    collection.wait_searchable(collection.stats().durable_sequence, WAIT_SECONDS)
    if [finding for finding in collection.verify() if finding not in repairs]:
        return "found"
    different = _difference(catalog)
    if different and any("have lost acknowledged writes" in repair for repair in repairs):
        return "loss said"
    if different:
        return f"LOST: {different}"
    return "mended" if repairs else "harmless"


def _difference(catalog: Catalog) -> str:
    """How what is read and found differs from what was acknowledged."""
    collection, held = catalog.get("things"), acknowledged()
    read = {document.doc_id: document for document in collection.get(IDS)}
    if {doc_id: document.fields["text"] for doc_id, document in read.items()} != held:
        return "texts"
    if any(document.attributes != {"year": int(i[1:])} for i, document in read.items()):
        return "attributes"
    if {each.doc_id for each in collection.lexical("common", None, 100).recalled} != set(held):
        return "the lexical leg"
    encoder = FakeBiEncoder()
    dense = collection.dense(encoder.encode_queries(["common new31"])[0], None, 100)
    try:
        found = [(each.doc_id, each.score) for each in dense.recalled]
        assert_same(found, scanned(held, encoder, "common new31", 100))
    except AssertionError:
        return "the dense leg"
    return ""


def kind_of(path: Path) -> str:
    """lexical/*.idx, dense/exact ..."""
    if path.parent.name.startswith("dense"):
        return f"dense/{path.name.split('-')[0]}"
    if path.parent.name == "lexical":
        return f"lexical/*{path.suffix}" if len(path.stem) >= 32 else f"lexical/{path.name}"
    return path.name


def test_no_damage_goes_unsaid(written: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    said: dict[str, Counter[str]] = {}
    files = sorted(path for path in written.rglob("*") if path.is_file() and path.stat().st_size)
    last = "manifest.json" if written.name != "copy" else "documents.sqlite-wal"
    assert {"documents.sqlite", "meta.json", last} <= {path.name for path in files}
    for number, path in enumerate(files):
        for what, damage in damages(path, rng):
            folder = tmp_path / f"{number}"
            shutil.copytree(written, folder)
            damage(folder / path.relative_to(written))
            verdict = said_of(folder)
            said.setdefault(f"{kind_of(path)}, {what}", Counter())[verdict] += 1
            shutil.rmtree(folder)
    for what, verdicts in sorted(said.items()):
        print(what, dict(verdicts))
    lost = {what: verdicts for what, verdicts in said.items() if any("LOST" in v for v in verdicts)}
    assert not lost
