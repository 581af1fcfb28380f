"""What collections of every backend do alike, over a writer and legs of the test's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from recalling import SCHEMA

from sidecar.recall.base import Leg
from sidecar.recall.collection import Written
from sidecar.recall.remote import new_record
from sidecar.recall.remote_collection import RemoteCollection
from sidecar.storage.stored_generations import BiEncoderIdentity
from sidecar.types import Backend, Document

IDENTITY = BiEncoderIdentity("a", "1", 2)
WRITTEN = Written(1, 1, 1, 1)
DOCUMENT = Document("d", {"text": "fox"})


class Calls:
    """Stands for a writer, both legs or another collection; keeps what it is asked."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.made: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> object:
            self.made.append((name, *arguments, *((named,) if named else ())))
            return self.answer

        return call


class Shelf(RemoteCollection):
    """A backend that keeps two documents."""

    def fields(self, doc_ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        stored = {"d": {"text": "fox", "title": "the"}, "e": {"text": "hen"}}
        return {doc_id: stored[doc_id] for doc_id in doc_ids if doc_id in stored}


def a_shelf(
    writer: Calls, legs: Calls, has_bi_encoder: bool = True, held: BiEncoderIdentity | None = None
) -> Shelf:
    record = new_record("shop", SCHEMA, Backend("there", ""), held)
    return Shelf(record, writer, legs, has_bi_encoder)


def test_writes_go_to_the_writer_and_once_it_has_moved_to_where_it_is():
    writer, successor = Calls(WRITTEN), Calls(WRITTEN)
    shelf = a_shelf(writer, Calls())
    assert shelf.upsert([DOCUMENT], request_id="r", expected_versions=[3]) is WRITTEN
    assert shelf.delete(["d"], request_id="s", expected_versions=[4]) is WRITTEN
    before = [("upsert", [DOCUMENT], "r", [3]), ("delete", ["d"], "s", [4])]
    assert writer.made == before
    with shelf.held():
        shelf.hand_over(successor)  # type: ignore[arg-type]
    shelf.upsert([DOCUMENT], request_id="r", expected_versions=[3])
    shelf.delete(["d"], request_id="s", expected_versions=[4])
    assert writer.made == before
    assert successor.made == [
        ("upsert", [DOCUMENT], {"request_id": "r", "expected_versions": [3]}),
        ("delete", ["d"], {"request_id": "s", "expected_versions": [4]}),
    ]


def test_both_legs_have_all_that_was_asked():
    leg = Leg(())
    legs, vector = Calls(leg), np.ones(2, np.float32)
    shelf = a_shelf(Calls(), legs)
    assert shelf.lexical("fox", None, 5, field_weights={"text": 2.0}, timeout_seconds=0.5) is leg
    assert shelf.dense(vector, None, 7, IDENTITY, timeout_seconds=0.25) is leg
    assert legs.made == [
        ("lexical", "fox", None, 5, {"text": 2.0}, 0.5),
        ("dense", vector, None, 7, IDENTITY, 0.25),
    ]


def test_passages_are_of_the_fields_in_their_order():
    passages = a_shelf(Calls(), Calls()).passages(["e", "d", "gone"])
    assert passages == {"d": "the\nfox", "e": "hen"}


@pytest.mark.parametrize(
    ("has_bi_encoder", "held", "said"),
    [(True, IDENTITY, ("a", "1", 2)), (False, IDENTITY, ("", "", 0)), (True, None, ("", "", 0))],
)
def test_it_is_described_as_its_record_has_it(
    has_bi_encoder: bool, held: BiEncoderIdentity | None, said: tuple[str, str, int]
):
    described = a_shelf(Calls(), Calls(), has_bi_encoder, held).describe()
    assert (described.name, described.schema) == ("shop", SCHEMA)
    assert described.backend == Backend("there", "sidecar-shop")
    found = (described.bi_encoder, described.bi_encoder_revision, described.dimensions)
    assert found == said


def test_its_writer_is_told_why_writes_end():
    writer = Calls()
    shelf = a_shelf(writer, Calls())
    shelf.retire()
    shelf.close()
    assert writer.made == [
        ("stop", "the collection was dropped"),
        ("stop", "the collection is closed"),
    ]
