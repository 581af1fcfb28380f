"""What every kind of collection promises (recall/base.py, recall/collection.py), whoever keeps it.

The oracles are independent of all of them: a dictionary of what was acknowledged, a plain predicate
for filters, a scan over vectors, bm25s over our own terms.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import bm25s
import numpy as np
import pytest
from fakes import FakeBiEncoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kinds import Kind
from recalling import (
    SCHEMA,
    VALUES,
    WAIT_SECONDS,
    Encoder,
    a_document,
    attributes,
    filters,
    matches,
    write,
)

from sidecar.errors import (
    CollectionExistsError,
    InvalidFieldError,
    ModelChangeError,
    SidecarError,
    TooLargeError,
    UnsupportedError,
)
from sidecar.recall.analyzers import english
from sidecar.recall.encoding import identity_of
from sidecar.types import (
    AllOf,
    AnyOf,
    Document,
    Equals,
    FacetRange,
    FacetRequest,
    Filter,
    NoneOf,
    OneOf,
    Range,
    Schema,
    StageReason,
    TextField,
)

DOCUMENTS = 120
# Those that an exact oracle of ranking can tell apart.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def catalog(kind: Kind, tmp_path_factory: pytest.TempPathFactory):
    catalog = kind.open(tmp_path_factory.mktemp("contract"))
    yield catalog
    for collection in catalog.list():
        catalog.drop(collection.name)
    catalog.close()


def new_name() -> str:
    return f"c{uuid.uuid4().hex[:12]}"


@pytest.fixture
def collection(kind: Kind, catalog):
    return kind.create(catalog, new_name(), SCHEMA)


@pytest.fixture(scope="module")
def filled(kind: Kind, catalog):
    """Documents with all sorts of attributes, and these by id."""
    collection = kind.create(catalog, new_name(), SCHEMA)
    rng = np.random.default_rng(7)
    documents = []
    for number in range(DOCUMENTS):
        present = [name for name in VALUES if rng.random() < 0.7]
        values = {name: VALUES[name][rng.integers(len(VALUES[name]))] for name in present}
        documents.append(a_document(number, **values))
    write(collection, documents)
    return collection, {document.doc_id: dict(document.attributes) for document in documents}


def lexical_ids(collection, query: str, depth: int = 100) -> list[str]:
    return [recalled.doc_id for recalled in collection.lexical(query, None, depth).recalled]


def dense_ids(collection, query: str, depth: int = 100) -> list[str]:
    vector = FakeBiEncoder().encode_queries([query])[0]
    return [recalled.doc_id for recalled in collection.dense(vector, None, depth).recalled]


# What is written


def test_a_write_is_durable_then_searchable(collection):
    written = collection.upsert([a_document(1, "red fox"), a_document(2, "blue owl", year=7)])
    assert written.count == 2
    assert written.durable_sequence >= written.sequence > 0
    assert [document.doc_id for document in collection.get(["d0002", "d0001"])] == [
        "d0002",
        "d0001",
    ]
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert collection.searchable_sequence >= written.sequence
    assert lexical_ids(collection, "foxes") == ["d0001"]
    assert dense_ids(collection, "common red fox", 1) == ["d0001"]
    assert collection.passages(["d0002", "nope"]) == {"d0002": "common\nblue owl"}
    assert collection.attributes(["d0002", "d0001"]) == {"d0002": {"year": 7}, "d0001": {}}
    stats = collection.stats()
    assert (stats.document_count, stats.lexical_count, stats.dense_count) == (2, 2, 2)
    assert stats.searchable_sequence >= written.sequence
    assert collection.describe().document_count == 2
    assert collection.verify() == []


def test_versions_rise_and_are_told(collection):
    first = collection.upsert([a_document(1), a_document(2)])
    second = collection.upsert([a_document(2, "again")])
    assert len(first.versions) == 2
    assert max(first.versions) == first.sequence < second.sequence
    held = {document.doc_id: document.version for document in collection.get(["d0001", "d0002"])}
    assert held == {"d0001": first.versions[0], "d0002": second.sequence}


def test_a_document_is_replaced(collection):
    write(collection, [a_document(1, "red fox", year=1)])
    write(collection, [a_document(1, "blue owl", colour="blue")])
    assert lexical_ids(collection, "fox") == []
    assert lexical_ids(collection, "owl") == ["d0001"]
    assert collection.lexical("owl", Equals("year", 1), 5).recalled == ()
    assert collection.get(["d0001"])[0].attributes == {"colour": "blue"}
    assert collection.stats().document_count == 1


def test_deletions_hide_at_once_and_for_good(collection):
    write(collection, [a_document(n) for n in range(20)])
    written = collection.delete(["d0003", "d0004", "nope"])
    assert written.count == 2
    for ids in (lexical_ids(collection, "common"), dense_ids(collection, "common")):
        assert len(ids) == 18
        assert not {"d0003", "d0004"} & set(ids)
    assert collection.get(["d0003"]) == []
    assert collection.passages(["d0003", "d0005"]) == {"d0005": "common\nword5"}
    assert collection.delete(["nope"]).sequence == 0
    assert collection.delete(["d0003"]).count == 0
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert collection.stats().document_count == 18
    write(collection, [a_document(3, "back")])
    assert lexical_ids(collection, "back") == ["d0003"]
    assert collection.verify() == []


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(values=attributes, text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_what_is_read_is_what_was_written(filled, values, text: str):
    collection, _ = filled
    document = Document("ä/ö?#% \U0001f600", {"title": "x", "text": text}, values)
    collection.upsert([document])
    (found,) = collection.get([document.doc_id])
    assert found.fields == document.fields
    assert found.attributes == document.attributes
    collection.delete([document.doc_id])


def test_a_vector_of_the_caller_is_normalised_and_kept(collection):
    vector = [0.0] * 64
    vector[3], vector[9] = 3.0, 4.0
    write(collection, [dataclasses.replace(a_document(1), vector=vector), a_document(2)])
    unit = np.asarray(vector, np.float32) / 5.0
    (leg,) = (collection.dense(unit, None, 1),)
    assert [recalled.doc_id for recalled in leg.recalled] == ["d0001"]
    assert leg.recalled[0].score == pytest.approx(1.0, abs=1e-3)
    assert np.allclose(collection.get(["d0001"], include_vectors=True)[0].vector, unit, atol=1e-6)
    vectors = collection.vectors(["d0001", "d0002", "nope"])
    assert set(vectors) == {"d0001", "d0002"}
    assert np.allclose(vectors["d0001"], unit, atol=1e-6)
    assert collection.get(["d0001"])[0].vector is None


@pytest.mark.parametrize(
    ("documents", "field"),
    [
        ([], "documents"),
        ([a_document(1), a_document(1)], "documents[1].doc_id"),
        ([Document("", {"title": "x"})], "documents[0].doc_id"),
        ([Document("x", {"titel": "x"})], 'documents[0].fields["titel"]'),
        ([a_document(1), a_document(2, year="1")], 'documents[1].attributes["year"]'),
        ([dataclasses.replace(a_document(1), vector=[1.0])], "documents[0].vector"),
    ],
)
def test_a_bad_batch_names_the_field_and_writes_nothing(filled, documents, field):
    collection, _ = filled
    before = collection.stats().document_count
    with pytest.raises(InvalidFieldError) as caught:
        collection.upsert(documents)
    assert caught.value.field == field
    assert collection.stats().document_count == before


def test_bad_id_lists(filled):
    collection, _ = filled
    for doc_ids in ([], [""], ["\ud800"]):
        with pytest.raises(InvalidFieldError):
            collection.delete(doc_ids)
    with pytest.raises(TooLargeError):
        collection.delete(["x" * 513])


def test_the_largest_ids_and_values(collection):
    doc_id, value = "ä" * 256, "ö" * 512
    write(collection, [Document(doc_id, {"text": "long"}, {"colour": value})])
    leg = collection.lexical("long", Equals("colour", value), 5)
    assert [recalled.doc_id for recalled in leg.recalled] == [doc_id]


def test_what_a_kind_lacks_it_refuses(kind: Kind, collection):
    if "conditions" in kind.lacks:
        with pytest.raises(UnsupportedError):
            collection.upsert([a_document(1)], expected_versions=[0])
    if "request ids" in kind.lacks:
        with pytest.raises(UnsupportedError):
            collection.upsert([a_document(1)], request_id="a")
    if "facets" in kind.lacks:
        with pytest.raises(UnsupportedError):
            collection.facets([FacetRequest("year")], None)
        with pytest.raises(UnsupportedError):
            collection.check_can_count()
    else:
        collection.check_can_count()
    if "backups" in kind.lacks:
        with pytest.raises(UnsupportedError):
            collection.back_up(Path("nowhere"))
    assert collection.get(["d0001"]) == []


def test_writers_side_by_side_lose_nothing(collection):
    """Four of them, who now and then meet at the same documents."""
    acknowledged: dict[str, set[str]] = {}
    lock = threading.Lock()

    def upsert(number: int) -> None:
        for turn in range(6):
            documents = [a_document(n, f"w{number}t{turn}") for n in range(turn, 40, number + 1)]
            collection.upsert(documents)
            with lock:
                for document in documents:
                    texts = acknowledged.setdefault(document.doc_id, set())
                    texts.add(document.fields["text"])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upsert, range(4)))
    last = collection.upsert([a_document(99)]).sequence
    assert collection.wait_searchable(last, WAIT_SECONDS)
    stored = {document.doc_id: document for document in collection.get(sorted(acknowledged))}
    assert set(stored) == set(acknowledged)
    for doc_id, document in stored.items():
        assert document.fields["text"] in acknowledged[doc_id]
        assert doc_id in lexical_ids(collection, document.fields["text"])
    assert collection.verify() == []


# What is recalled


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(filter=filters)
def test_both_legs_recall_just_what_matches(filled, filter: Filter):
    collection, values = filled
    wanted = {doc_id for doc_id, held in values.items() if matches(filter, held)}
    lexical = collection.lexical("common", filter, DOCUMENTS)
    dense = collection.dense(FakeBiEncoder().encode_queries(["common"])[0], filter, DOCUMENTS)
    assert {recalled.doc_id for recalled in lexical.recalled} == wanted
    assert {recalled.doc_id for recalled in dense.recalled} == wanted
    assert lexical.reason == dense.reason == StageReason.NONE


def test_the_limits_of_filters_are_allowed(filled):
    collection, _ = filled
    deep: Filter = Equals("new", True)
    for _ in range(15):
        deep = NoneOf((deep,))
    most = AnyOf((Equals("new", True),) * 255)
    long = AllOf((OneOf("year", tuple(range(1024))),) * 40)
    for filter in (most, deep, long):
        lexical = collection.lexical("common " * 100, filter, DOCUMENTS)
        dense = collection.dense(FakeBiEncoder().encode_queries(["x"])[0], filter, DOCUMENTS)
        assert lexical.reason is StageReason.NONE, lexical.detail
        assert {r.doc_id for r in lexical.recalled} == {r.doc_id for r in dense.recalled}


def test_a_filter_changes_no_score_and_cuts_before_ranking(kind: Kind, filled):
    collection, values = filled
    whole = {r.doc_id: r.score for r in collection.lexical("common word7", None, 200).recalled}
    filter = Range("year", lower=0)
    matching = [doc_id for doc_id in whole if matches(filter, values[doc_id])]
    cut = collection.lexical("common word7", filter, 5).recalled
    assert len(cut) == min(5, len(matching))
    best = sorted((whole[doc_id] for doc_id in matching), reverse=True)[:5]
    if "scores under filters" in kind.differs:
        best = [whole[recalled.doc_id] for recalled in cut]
        assert best == sorted(best, reverse=True)
        return
    assert [recalled.score for recalled in cut] == pytest.approx(best)


def test_a_bad_filter_is_named(filled):
    collection, _ = filled
    with pytest.raises(InvalidFieldError) as caught:
        collection.lexical("common", Equals("colou", "red"), 5)
    assert caught.value.field == "filter.equals.attribute"
    with pytest.raises(InvalidFieldError):
        collection.dense(FakeBiEncoder().encode_queries(["x"])[0], Equals("year", "1"), 5)


WORDS = [f"w{n}" for n in range(30)]


@pytest.fixture(scope="module")
def texts(kind: Kind, catalog):
    """Texts of frequent and rare words, by id, without ties to speak of."""
    rng = np.random.default_rng(11)
    shares = 1.0 / np.arange(1, len(WORDS) + 1)
    held = {}
    for number in range(200):
        words = rng.choice(WORDS, size=rng.integers(3, 60), p=shares / shares.sum())
        held[f"d{number:04}"] = " ".join(words)
    collection = kind.create(catalog, new_name(), Schema((TextField("title"), TextField("text"))))
    documents = [Document(i, {"title": t.split()[0], "text": t}) for i, t in held.items()]
    write(collection, documents)
    return collection, held


def bm25_scores(corpus: list[list[str]], query: list[str]) -> np.ndarray:
    retriever = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    retriever.index(corpus, show_progress=False)
    return retriever.get_scores(query)


def assert_ranked_alike(leg, doc_ids: list[str], scores: np.ndarray) -> None:
    """The same order, but for what the length of a document, kept in one byte, may swap."""
    wanted = dict(zip(doc_ids, scores, strict=True))
    found = [wanted[recalled.doc_id] for recalled in leg.recalled]
    assert {r.doc_id for r in leg.recalled} == {i for i, score in wanted.items() if score > 0.0}
    assert np.corrcoef(found, [r.score for r in leg.recalled])[0, 1] > 0.999
    best = sorted(scores, reverse=True)[: len(found)]
    assert np.allclose(found, best, rtol=0.06)


@pytest.mark.parametrize("query", ["w3", "w1 w25", "w29 w28 w27 w2", "w9 w9 w9 w4"])
def test_the_lexical_leg_is_bm25_over_our_terms(texts, query: str):
    collection, held = texts
    corpus = [english(f"{text.split()[0]} {text}") for text in held.values()]
    leg = collection.lexical(query, None, 200)
    assert_ranked_alike(leg, list(held), bm25_scores(corpus, english(query)))


def test_field_weights_are_a_sum_over_fields(kind: Kind, texts):
    collection, held = texts
    if "field weights" in kind.lacks:
        with pytest.raises(UnsupportedError):
            collection.lexical("w1", None, 200, field_weights={"title": 5.0})
        return
    titles = [english(text.split()[0]) for text in held.values()]
    bodies = [english(text) for text in held.values()]
    query = english("w1 w7 w20")
    scores = 5.0 * bm25_scores(titles, query) + bm25_scores(bodies, query)
    leg = collection.lexical("w1 w7 w20", None, 200, field_weights={"title": 5.0})
    assert_ranked_alike(leg, list(held), scores)
    leg = collection.lexical("w1 w7 w20", None, 200, field_weights={"title": 0.0})
    assert_ranked_alike(leg, list(held), bm25_scores(bodies, query))


@pytest.mark.parametrize("depth", [1, 10, 150])
def test_the_dense_leg_is_a_scan_by_cosine(texts, depth: int):
    collection, held = texts
    full = {doc_id: text.split()[0] + "\n" + text for doc_id, text in held.items()}
    bi_encoder = FakeBiEncoder()
    vectors = bi_encoder.encode_passages(list(full.values())).astype(np.float64)
    query = bi_encoder.encode_queries(["w2 w5 w28"])[0]
    leg = collection.dense(query, None, depth)
    best = sorted(vectors @ query.astype(np.float64), reverse=True)[:depth]
    assert np.allclose([recalled.score for recalled in leg.recalled], best, atol=2e-3)


def test_ties_are_by_id_also_where_they_are_cut(collection):
    documents = [a_document(n, "same words") for n in range(40)]
    for start in (30, 0, 20, 10):
        write(collection, documents[start : start + 10][::-1])
    wanted = [f"d{n:04}" for n in range(15)]
    assert lexical_ids(collection, "same", 15) == wanted


def test_ids_are_unique_and_best_first(texts):
    collection, _ = texts
    vector = FakeBiEncoder().encode_queries(["w1 w2"])[0]
    for leg in (collection.lexical("w1 w2", None, 100), collection.dense(vector, None, 100)):
        ids = [recalled.doc_id for recalled in leg.recalled]
        assert len(ids) == len(set(ids)) == 100
        keys = [(-recalled.score, recalled.doc_id) for recalled in leg.recalled]
        assert keys == sorted(keys)
        assert leg.answered == 1.0


def test_a_query_without_terms_says_so(filled):
    collection, _ = filled
    assert collection.lexical("the ?!", None, 5).reason is StageReason.NO_QUERY_TERMS


def test_a_query_of_thousands_of_words_is_answered(filled):
    collection, _ = filled
    leg = collection.lexical(" ".join(f"z{n}" for n in range(1500)) + " common", None, 5)
    assert leg.reason is StageReason.NONE
    assert len(collection.lexical(" ".join(WORDS * 20) + " common", None, 5).recalled) == 5


def test_chinese_text(kind: Kind, catalog):
    collection = kind.create(catalog, new_name(), Schema((TextField("text", "chinese"),)))
    texts = {"a": "北京大学的图书馆", "b": "上海的天气很好", "c": "iPhone 手机 red foxes"}
    write(collection, [Document(doc_id, {"text": text}) for doc_id, text in texts.items()])
    assert lexical_ids(collection, "图书馆") == ["a"]
    assert lexical_ids(collection, "ｉＰｈｏｎｅ fox") == ["c"]


# What is counted


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(filter=st.none() | filters)
def test_facets_count_what_matches(kind: Kind, filled, filter: Filter | None):
    if "facets" in kind.lacks:
        pytest.skip(f"{kind.name} counts nothing")
    collection, values = filled
    held = [each for each in values.values() if filter is None or matches(filter, each)]
    requests = [FacetRequest(name, limit=3) for name in VALUES]
    for request, facet in zip(requests, collection.facets(requests, filter), strict=True):
        counts: Counter = Counter()
        for each in held:
            value = each.get(request.attribute, ())
            counts.update(set(value) if isinstance(value, tuple) else [value])
        assert facet.attribute == request.attribute
        assert [each.count for each in facet.counts] == sorted(counts.values(), reverse=True)[:3]
        assert all(counts[each.of] == each.count for each in facet.counts)
        having = sum(bool(each.get(request.attribute, ()) != ()) for each in held)
        assert facet.missing_count == len(held) - having
        told = {each.of for each in facet.counts}
        others = 0
        for each in held:
            value = each.get(request.attribute, ())
            several = set(value) if isinstance(value, tuple) else {value}
            others += bool(several) and not (several & told)
        assert facet.other_count == others
        assert facet.error_bound == 0


def test_ranges_are_counted(kind: Kind, filled):
    if "facets" in kind.lacks:
        pytest.skip(f"{kind.name} counts nothing")
    collection, values = filled
    ranges = (FacetRange(None, 0), FacetRange(0, 2024), FacetRange(2024, None))
    (facet,) = collection.facets([FacetRequest("year", ranges=ranges)], None)
    years = [each["year"] for each in values.values() if "year" in each]
    wanted = [sum(y < 0 for y in years), sum(0 <= y < 2024 for y in years)]
    assert [each.count for each in facet.counts] == [*wanted, sum(y >= 2024 for y in years)]
    assert (facet.missing_count, facet.other_count) == (DOCUMENTS - len(years), 0)


# What is opened


def test_opened_again_all_is_there(kind: Kind, tmp_path: Path):
    catalog = kind.open(tmp_path)
    collection = kind.create(catalog, name := new_name(), SCHEMA)
    write(collection, [a_document(n) for n in range(10)])
    collection.delete(["d0003"])
    last = collection.upsert([a_document(1, "newer")]).sequence
    incarnation = collection.describe().incarnation
    catalog.close()
    again = kind.open(tmp_path)
    collection = again.get(name)
    assert collection.schema == SCHEMA
    assert collection.describe().incarnation == incarnation
    assert collection.wait_searchable(last, WAIT_SECONDS)
    assert len(lexical_ids(collection, "common")) == 9
    assert lexical_ids(collection, "newer") == ["d0001"]
    assert collection.upsert([a_document(2)]).sequence > last
    with pytest.raises(CollectionExistsError):
        kind.create(again, name, SCHEMA)
    again.drop(name)
    collection = kind.create(again, name, SCHEMA)
    assert collection.get(["d0001"]) == []
    again.drop(name)
    again.close()


def test_a_closed_collection_refuses(kind: Kind, tmp_path: Path):
    catalog = kind.open(tmp_path)
    collection = kind.create(catalog, name := new_name(), SCHEMA)
    catalog.close()
    with pytest.raises(SidecarError):
        collection.upsert([a_document(1)])
    again = kind.open(tmp_path)
    again.drop(name)
    again.close()


def test_vectors_of_another_bi_encoder_are_never_mixed(kind: Kind, tmp_path: Path):
    catalog = kind.open(tmp_path)
    collection = kind.create(catalog, name := new_name(), SCHEMA)
    write(collection, [a_document(1)])
    catalog.close()
    other = Encoder()
    again = kind.open(tmp_path, other)
    leg = again.get(name).dense(other.encode_queries(["common"])[0], None, 5)
    assert leg.recalled == ()
    assert leg.reason is StageReason.INDEX_UNAVAILABLE
    assert "fake-1" in leg.detail
    assert lexical_ids(again.get(name), "common") == ["d0001"]
    again.drop(name)
    again.close()


def test_another_bi_encoder_is_refused_where_there_is_one_generation(kind: Kind, tmp_path: Path):
    if "generations" not in kind.lacks:
        pytest.skip(f"{kind.name} has generations")
    catalog = kind.open(tmp_path)
    collection = kind.create(catalog, name := new_name(), SCHEMA)
    other = Encoder()
    with pytest.raises(ModelChangeError, match=name):
        catalog.add_generation(other)
    assert identity_of(other) not in catalog.generations()
    with pytest.raises(ModelChangeError, match="create another one"):
        catalog.lead_with(other)
    catalog.add_generation(FakeBiEncoder())
    assert catalog.wait_generation(identity_of(FakeBiEncoder()), 0.0)
    catalog.lead_with(FakeBiEncoder())
    write(collection, [a_document(1)])
    catalog.drop(name)
    catalog.close()


def test_a_server_killed_in_the_middle_of_writes_loses_nothing(kind: Kind, tmp_path: Path):
    """And a deleted document does not come back."""
    if kind.disturb is None:
        pytest.skip(f"{kind.name} has no server of its own: tests of kills are in embedded/")
    catalog = kind.open(tmp_path)
    collection = kind.create(catalog, name := new_name(), SCHEMA)
    acknowledged: dict[str, str] = {}
    deleted: set[str] = set()
    enough, failed = threading.Event(), threading.Event()

    def write_on() -> None:
        for turn in itertools.count():
            documents = [a_document(100 * turn + n, f"turn{turn}") for n in range(100)]
            doomed = [document.doc_id for document in documents[:10]]
            try:
                collection.upsert(documents)
                acknowledged.update({d.doc_id: d.fields["text"] for d in documents})
                collection.delete(doomed)
                deleted.update(doomed)
            except SidecarError:
                failed.set()
                return
            if turn == 4:
                enough.set()

    writer = threading.Thread(target=write_on)
    writer.start()
    assert enough.wait(WAIT_SECONDS)
    kind.disturb()
    writer.join()
    assert failed.is_set()
    unsure = {doc_id for doc_id in acknowledged if doc_id not in deleted}
    last = collection.upsert([a_document(999_999, "after")]).sequence
    assert collection.wait_searchable(last, WAIT_SECONDS)
    stored = {}
    ids = sorted(acknowledged)
    for start in range(0, len(ids), 500):
        stored |= {
            document.doc_id: document for document in collection.get(ids[start : start + 500])
        }
    assert not deleted & set(stored)
    # Of the last batch the deletion may or may not have come about.
    assert len(unsure - set(stored)) <= 10
    assert all(acknowledged[doc_id] == d.fields["text"] for doc_id, d in stored.items())
    found = set(lexical_ids(collection, "common", 10_000))
    assert set(stored) <= found
    assert not deleted & found
    catalog.drop(name)
    catalog.close()
