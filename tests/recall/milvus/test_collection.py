"""What is Milvus' own about a collection that it keeps; the rest is in test_contract.py."""

from __future__ import annotations

import dataclasses

import pytest
from fakes import FakeBiEncoder
from pymilvus import MilvusClient
from recalling import SCHEMA, Encoder, a_document

from sidecar.config import BackendConfig
from sidecar.errors import (
    InvalidFieldError,
    ModelChangeError,
    StorageError,
    TooLargeError,
    UnsupportedError,
)
from sidecar.recall.milvus.clock import Clock
from sidecar.recall.milvus.collection import MilvusCollection
from sidecar.recall.milvus.index import index_name
from sidecar.types import (
    AttributeField,
    AttributeType,
    Backend,
    Document,
    FieldMapping,
    Schema,
    StageReason,
    TextField,
    VersionConflict,
)

LONG = 65_535  # bytes of a VARCHAR


def test_conditional_writes(collections):
    collection = collections()
    first = collection.upsert([a_document(1)], expected_versions=[0])
    (version,) = first.versions
    refused = collection.upsert(
        [a_document(1, "new"), a_document(2, "new")], expected_versions=[0, None]
    )
    assert refused.conflicts == (VersionConflict("d0001", version),)
    assert (refused.sequence, refused.count) == (0, 0)
    assert [d.doc_id for d in collection.get(["d0001", "d0002"])] == ["d0001"]
    written = collection.upsert(
        [a_document(1, "new"), a_document(2)], expected_versions=[version, 0]
    )
    assert written.conflicts == ()
    assert collection.delete(["d0001"], expected_versions=[version]).conflicts == (
        VersionConflict("d0001", written.versions[0]),
    )
    assert collection.delete(["d0001", "d0002"], expected_versions=[0, written.sequence]).count == 2
    assert collection.delete(["d0001"], expected_versions=[7]).conflicts == (
        VersionConflict("d0001", 0),
    )


def test_versions_that_are_not_of_all_documents_are_refused_and_nothing_is_written(collections):
    collection = collections()
    written = collection.upsert([a_document(1), a_document(2)])
    for versions in (written.versions[:1], (*written.versions, 3), (-1, 0)):
        with pytest.raises(InvalidFieldError, match="expected_version"):
            collection.delete(["d0001", "d0002"], expected_versions=versions)
        with pytest.raises(InvalidFieldError, match="expected_version"):
            collection.upsert([a_document(1), a_document(2)], expected_versions=versions)
    stored = collection.get(["d0001", "d0002"])
    assert tuple(document.version for document in stored) == written.versions


def test_texts_too_long_for_milvus_are_named_and_nothing_is_written(collections):
    collection = collections()
    longest = "x" * (LONG - len('{"text":""}'))
    words = " ".join(f"w{n:05}" for n in range(9_000))
    many = {"tags": tuple(f"{n}".rjust(1024) for n in range(64))}
    for document, field in (
        (Document("a", {"text": longest + "x"}), "documents[1].fields"),
        (Document("a", {"text": words}), "documents[1].fields"),
        (Document("a", {"text": "x"}, many), "documents[1].attributes"),
    ):
        with pytest.raises(TooLargeError) as caught:
            collection.upsert([a_document(1), document])
        assert caught.value.field == field
        assert str(LONG) in caught.value.description
    assert collection.stats().document_count == 0
    collection.upsert([Document("a", {"text": longest})])
    assert collection.fields(["a"])["a"]["text"] == longest


def test_more_attributes_than_milvus_has_fields(collections):
    names = [AttributeField(f"a{number}", AttributeType.INTEGER) for number in range(58)]
    with pytest.raises(TooLargeError, match=r"schema\.attributes: has 58 entries: .*57 are left"):
        collections(Schema(attributes=tuple(names)))
    collection = collections(Schema(attributes=tuple(names[:57])))
    collection.upsert([Document("a", {"text": "x"}, {"a56": 7})])
    assert collection.attributes(["a"]) == {"a": {"a56": 7}}


def test_a_document_without_a_term_is_found_by_its_vector(collections):
    collection = collections()
    for _ in range(2):
        collection.upsert([Document("none", {"title": "?!", "text": "the"}), a_document(1)])
        collection._index._connection.call("flush", collection._index.name)
    assert [r.doc_id for r in collection.lexical("common the", None, 5).recalled] == ["d0001"]
    near = FakeBiEncoder().encode_queries(["?! the"])[0]
    assert [r.doc_id for r in collection.dense(near, None, 1).recalled] == ["none"]
    assert collection.passages(["none"]) == {"none": "?!\nthe"}


def test_documents_of_two_languages(collections):
    collection = collections(Schema((TextField("text"), TextField("chinese", "chinese"))))
    collection.upsert(
        [
            Document("a", {"text": "the red foxes", "chinese": "北京大学"}),
            Document("b", {"text": "a blue owl", "chinese": "上海 fox"}),
        ]
    )
    for query, wanted in (("大学", ["a"]), ("owls", ["b"]), ("fox", ["a", "b"])):
        found = collection.lexical(query, None, 10).recalled
        assert sorted(each.doc_id for each in found) == wanted


def test_without_a_bi_encoder_there_is_one_leg(collections):
    collection = collections(bi_encoder=None)
    collection.upsert([a_document(1)])
    assert [r.doc_id for r in collection.lexical("common", None, 5).recalled] == ["d0001"]
    leg = collection.dense(FakeBiEncoder().encode_queries(["x"])[0], None, 5)
    assert leg.reason is StageReason.NOT_CONFIGURED
    assert collection.vectors(["d0001"]) == {}
    assert collection.get(["d0001"], include_vectors=True)[0].vector is None
    assert collection.stats().dense_count == 0
    with_one = collections(reopened=collection._record)
    leg = with_one.dense(FakeBiEncoder().encode_queries(["x"])[0], None, 5)
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert "never made" in leg.detail
    with pytest.raises(InvalidFieldError, match=r"documents\[0\]\.vector"):
        with_one.upsert([dataclasses.replace(a_document(2), vector=[1.0] * 64)])
    assert with_one.upsert([a_document(2)]).count == 1


def test_under_another_bi_encoder_documents_need_vectors_of_theirs(collections):
    collection = collections(bi_encoder=Encoder())
    reopened = collections(reopened=collection._record)
    with pytest.raises(ModelChangeError, match="fake-2, which is not configured"):
        reopened.upsert([a_document(1)])
    own = [float(n == 3) for n in range(48)]
    assert reopened.upsert([dataclasses.replace(a_document(1), vector=own)]).count == 1
    assert reopened.vectors(["d0001"])["d0001"].tolist() == own


@pytest.mark.parametrize(
    "changes", [{"read_only": True}, {"mapping": (FieldMapping("title", "name"),)}]
)
def test_what_others_write_is_not_read(collections, milvus_lite, changes):
    record = collections()._record
    other = dataclasses.replace(record, backend=dataclasses.replace(record.backend, **changes))
    with pytest.raises(UnsupportedError, match="others write"):
        MilvusCollection.prepare(other, BackendConfig(kind="milvus", url=milvus_lite.url))


def test_names():
    assert index_name("sidecar-my-things", "sidecar-my-things") == "sidecar_my_things"
    assert index_name("_A1", "x") == "_A1"
    for bad in ("a-b", "1a", "a.b", "ä", "x" * 256):
        with pytest.raises(InvalidFieldError, match=r"backend\.index"):
            index_name(bad, "sidecar-x")


def test_verify_says_what_is_not_as_it_was_made(collections, tmp_path):
    collection = collections()
    assert collection.verify() == []
    more = Schema(attributes=(*SCHEMA.attributes, AttributeField("size", AttributeType.DOUBLE)))
    (finding,) = collections(reopened=dataclasses.replace(collection._record, schema=more)).verify()
    assert "field 'attribute_size'" in finding
    assert "is missing, not of type DOUBLE" in finding
    collection.retire()
    collection.moved(tmp_path)
    (finding,) = collections(reopened=collection._record).verify()
    assert "no collection" in finding
    collections(reopened=collection._record).moved(tmp_path)  # it was dropped there before
    with pytest.raises(StorageError, match="was dropped"):
        collection.upsert([a_document(1)])


def test_one_of_another_by_the_same_name_is_not_dropped(collections, server):
    config = BackendConfig(kind="milvus", url=server.url)
    collection = collections()
    collection.upsert([a_document(1)])
    other = dataclasses.replace(collection._record, collection_id="0" * 32)
    MilvusCollection.discard(other, config)
    assert collection.describe().document_count == 1
    (finding,) = collections(reopened=other).verify()
    assert "has another collection" in finding
    with pytest.raises(InvalidFieldError, match="has already"):
        MilvusCollection.prepare(other, config)
    MilvusCollection.discard(collection._record, config)
    assert "no collection" in collection.verify()[0]


def test_a_creation_that_was_broken_off_is_gone_on_with(collections, server, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*arguments, **more):
        raise Killed

    config = BackendConfig(kind="milvus", url=server.url)
    template = collections()._record
    record = dataclasses.replace(template, name="broken-off", collection_id="1" * 32)
    record = dataclasses.replace(record, backend=Backend("lite", "sidecar-broken-off"))
    with monkeypatch.context() as patched:
        patched.setattr(MilvusClient, "create_index", killed)
        with pytest.raises(Killed):
            MilvusCollection.prepare(record, config)
    for _ in range(2):  # the first has no indexes yet, the second all that there is
        made = MilvusCollection.prepare(record, config)
    assert made.backend.index == "sidecar_broken_off"
    collection = collections(reopened=made)
    collection.upsert([a_document(1)])
    assert [each.doc_id for each in collection.lexical("common", None, 5).recalled] == ["d0001"]
    collection.moved(None)


def test_sequence_numbers_rise_whatever_the_clock_does():
    times = iter([1000, 1000, 1000, 500, 5000])
    clock = Clock(lambda number: False, lambda: next(times))
    assert clock.last == 1000
    assert [clock.take(count) for count in (3, 1, 2, 1)] == [1001, 1004, 1005, 5000]
    assert clock.last == 5000


def test_sequence_numbers_step_over_what_is_stored():
    asked: list[int] = []

    def is_beyond(number: int) -> bool:
        asked.append(number)
        return number < 123_456_789

    clock = Clock(is_beyond, lambda: 1000)
    assert clock.take(1) > 123_456_789
    assert len(asked) < 20
    clock.take(1)
    assert len(asked) == len(set(asked)), "once is enough"
