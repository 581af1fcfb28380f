"""Damage to a generation that does not lead is found, whether its bi-encoder is at hand or not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import FakeBiEncoder
from generations import fill, ready
from recalling import CONFIG, Encoder, a_collection

from sidecar.recall.embedded.collection import EmbeddedCollection


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_vector(folder: Path) -> None:
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        connection.execute("DELETE FROM vectors_2 WHERE ordinal = 3")
        connection.execute("INSERT INTO vectors_2 VALUES (3, zeroblob(192), NULL)")
    connection.close()


def lose_vector(folder: Path) -> None:
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        connection.execute("DELETE FROM vectors_2 WHERE ordinal = 3")
    connection.close()


def stray_vector(folder: Path) -> None:
    with sqlite3.connect(folder / "documents.sqlite") as connection:
        connection.execute("INSERT INTO vectors_2 VALUES (9999, zeroblob(192), NULL)")
    connection.close()


def damage_snapshot(folder: Path) -> None:
    flip_byte(max((folder / "dense-2").glob("rows-*")))


@pytest.mark.parametrize("at_hand", [True, False])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (change_vector, "has other vectors of documents with ordinal 3"),
        (lose_vector, "documents whose vector is lost"),
        (stray_vector, "vectors without a document"),
        (damage_snapshot, "could not be used and is built anew"),
    ],
)
def test_verify_looks_at_every_generation(
    tmp_path: Path, new: Encoder, damage: Callable[[Path], None], says: str, at_hand: bool
):
    collection = a_collection(tmp_path)
    fill(collection)
    collection.add_generation(new)
    ready(collection, new)
    collection.close()
    damage(collection.folder)
    again = EmbeddedCollection.open(collection.folder, FakeBiEncoder(), CONFIG)
    if at_hand:
        again.add_generation(new)
        ready(again, new)
    findings = [*again.verify(), *again.repairs]
    assert any(says in finding for finding in findings), findings
    again.close()
