"""Field weights against bm25s over each field alone, and how an index without them is renewed."""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import FakeBiEncoder
from recalling import WAIT_SECONDS

import sidecar.recall.embedded.renewal as renewal_module
from sidecar.config import Config
from sidecar.errors import InvalidFieldError, StorageError
from sidecar.recall.analyzers import ANALYZERS_VERSION, analyzer
from sidecar.recall.embedded.collection import EmbeddedCollection
from sidecar.recall.embedded.lexical import ABOUT, FORMAT, LexicalIndex, open_lexical
from sidecar.recall.embedded.renewal import LexicalRenewal
from sidecar.recall.field_weights import check_field_weights
from sidecar.storage.headers import Header
from sidecar.storage.text_changes import TextChange, TextChanges
from sidecar.types import Document, Schema, StageReason, TextField

SCHEMA = Schema(
    text_fields=(
        TextField("title"),
        TextField("text"),
        TextField("name", "chinese"),
        TextField("story", "chinese"),
    )
)
HEADER = Header("id-1", "things", SCHEMA)
DOCUMENTS = 300
ENGLISH = [f"w{number}q" for number in range(60)]
CHINESE = ["北京", "天安门", "手机", "茶", "苹果", "电脑", "中国", "大学", "学生", "跑"]
QUERIES = ["w1q w7q w20q", "w3q w3q w55q", "北京 手机", "中国大学 w2q", "w59q"]
WEIGHTS = [
    {"title": 3.0},
    {"title": 0.0, "name": 0.25},
    {"title": 2.5, "text": 0.5, "name": 100.0, "story": 1.0},
    {"text": 0.0, "name": 0.0, "story": 0.0},
]


def texts_of(number: int) -> dict[str, str]:
    """Fields of at most 40 terms: longer ones' lengths are kept in 8 bits, and so are not exact."""
    rng = np.random.default_rng(number)

    def draw(words: list[str], most: int) -> str:
        ranks = np.minimum(rng.zipf(1.4, int(rng.integers(0, most + 1))), len(words)) - 1
        return " ".join(words[rank] for rank in ranks)

    fields = {"title": draw(ENGLISH, 6), "text": draw(ENGLISH, 40)}
    fields |= {"name": draw(CHINESE, 2), "story": draw(CHINESE, 3)}
    return {name: text for name, text in fields.items() if text}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory):
    index = open_lexical(tmp_path_factory.mktemp("weights") / "lexical", HEADER)
    fill(index)
    yield index
    index.close()


def fill(index: LexicalIndex) -> None:
    """In one commit, and so one segment: averages are of the whole index in either case."""
    written = [TextChange(n, n, texts_of(n), {}) for n in range(1, DOCUMENTS + 1)]
    index.apply(TextChanges(DOCUMENTS, written, []))


def by_field(query: str) -> dict[str, np.ndarray]:
    """What bm25s scores in each field, float (documents,)."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.ERROR)
    scores = {}
    for field in SCHEMA.text_fields:
        read = analyzer(field.analyzer)
        corpus = [read(texts_of(n).get(field.name, "")) for n in range(1, DOCUMENTS + 1)]
        assert max(map(len, corpus)) <= 40
        oracle = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        oracle.index([*corpus, []], show_progress=False)  # the sentinel is an empty document
        # Lucene's has left the constant k1 + 1 out since version 8; tantivy has not.
        scores[field.name] = oracle.get_scores(read(query))[:-1] * 2.2
    return scores


@pytest.mark.parametrize("query", QUERIES)
def test_scores_and_order_are_the_weighted_sum_of_bm25_in_each_field(
    index: LexicalIndex, query: str
):
    alone = by_field(query)
    for weights in WEIGHTS:
        expected = sum(weights.get(name, 1.0) * scores for name, scores in alone.items())
        found = index.search(query, None, DOCUMENTS, weights) or []
        assert {ordinal for ordinal, _ in found} == set(np.flatnonzero(expected > 0) + 1)
        in_order = [expected[ordinal - 1] for ordinal, _ in found]
        assert [score for _, score in found] == pytest.approx(in_order, rel=1e-4)
        assert all(after <= before * (1 + 1e-5) for before, after in itertools.pairwise(in_order))


def test_the_index_with_fields_of_their_own_scores_as_the_one_without(
    index: LexicalIndex, tmp_path: Path
):
    older = LexicalIndex(tmp_path, SCHEMA, format=1)
    fill(older)
    for query in QUERIES:
        assert index.search(query, None, DOCUMENTS) == older.search(query, None, DOCUMENTS)
        with pytest.raises(StorageError, match="older format"):
            older.search(query, None, 5, {"title": 2.0})
    older.close()


def test_one_text_field_to_an_analyzer_needs_no_second_one(tmp_path: Path):
    schema = Schema(text_fields=(TextField("en"), TextField("zh", "chinese")))
    older = LexicalIndex(tmp_path, schema, format=1)
    older.apply(TextChanges(2, [TextChange(1, 1, {"en": "fox"}, {}), TextChange(2, 2, {}, {})], []))
    ((_, once),) = older.search("fox", None, 5)
    ((_, thrice),) = older.search("fox", None, 5, {"en": 3.0})
    assert (older.is_outdated, thrice) == (False, pytest.approx(3 * once, rel=1e-5))
    assert older.search("fox", None, 5, {"en": 0.0}) == []
    assert older.search("the", None, 5, {"zh": 0.0}) is None
    older.close()


@pytest.mark.parametrize(
    ("weights", "path"),
    [
        ({"title": 1.0, "titel": 1.0}, 'field_weights["titel"]'),
        ({"title": -0.1}, 'field_weights["title"]'),
        ({"title": 100.1}, 'field_weights["title"]'),
        ({"title": math.nan}, 'field_weights["title"]'),
        ({"title": math.inf}, 'field_weights["title"]'),
        ({field.name: 0.0 for field in SCHEMA.text_fields}, "field_weights"),
    ],
)
def test_weights_that_are_none_name_the_field(weights: dict[str, float], path: str):
    with pytest.raises(InvalidFieldError) as caught:
        check_field_weights(weights, SCHEMA)
    assert caught.value.field == path


def test_weights_that_are(index: LexicalIndex):
    for weights in [{}, {"title": 0.0}, {"title": 100.0, "text": 0.0}]:
        check_field_weights(weights, SCHEMA)


# Renewal

TWO_FIELDS = Schema()


def open_again(folder: Path) -> EmbeddedCollection:
    return EmbeddedCollection.open(folder, FakeBiEncoder(), Config())


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The folder of a collection whose lexical index is of format 1."""
    folder = tmp_path / "things"
    collection = EmbeddedCollection.create(folder, "things", TWO_FIELDS, FakeBiEncoder(), Config())
    for start in (0, 20):
        collection.upsert(
            [
                Document(f"d{n:02}", {"title": f"t{n}", "text": "fox"})
                for n in range(start, 20 + start)
            ]
        )
    collection.delete(["d07"])
    header = collection._store.header
    collection.close()
    about = json.loads((folder / "lexical" / ABOUT).read_bytes())
    assert about["format"] == FORMAT
    rebuild(folder / "lexical", header, folder)
    return folder


def rebuild(lexical: Path, header: Header, folder: Path, format: int = 1) -> None:
    from sidecar.storage.documents import DocumentStore

    shutil.rmtree(lexical, ignore_errors=True)
    lexical.mkdir()
    index = LexicalIndex(lexical, header.schema, format)
    store = DocumentStore.open(folder)
    index.apply(store.text_changes(0, 1000, 1 << 20))
    store.close()
    index.close()
    about = {"collection_id": header.collection_id, "analyzers_version": ANALYZERS_VERSION}
    (lexical / ABOUT).write_text(json.dumps({"format": format, **about}))


def format_of(folder: Path) -> int:
    return json.loads((folder / "lexical" / ABOUT).read_bytes())["format"]


def until_renewed(collection: EmbeddedCollection) -> None:
    assert collection._derived._wait(
        lambda: not collection._derived.lexical.is_outdated, WAIT_SECONDS
    )


def assert_whole(collection: EmbeddedCollection) -> None:
    """All that is stored is found, also by weights, and nothing was said to be damaged."""
    ids = {f"d{n:02}" for n in range(40)} - {"d07"}
    weighted = collection.lexical("fox", None, 100, field_weights={"title": 2.0})
    assert {each.doc_id for each in weighted.recalled} == ids
    assert collection.lexical("fox", None, 100, field_weights={"text": 0.0}).recalled == ()
    assert (*collection.verify(), *collection.repairs) == ()
    lexical = sorted(path.name for path in collection.folder.glob("lexical*"))
    assert (lexical, format_of(collection.folder)) == (["lexical"], FORMAT)


def test_an_older_index_serves_while_its_successor_is_built(older: Path, monkeypatch):
    gate, step = threading.Event(), LexicalRenewal.step
    monkeypatch.setattr(LexicalRenewal, "step", lambda *given: (gate.wait(), step(*given))[1])
    monkeypatch.setattr(renewal_module, "CHUNK_DOCUMENTS", 7)
    collection = open_again(older)
    assert len(collection.lexical("fox", None, 100).recalled) == 39
    leg = collection.lexical("fox", None, 5, field_weights={"title": 2.0})
    assert (leg.reason, leg.recalled) == (StageReason.INDEX_UNAVAILABLE, ())
    assert "older format" in leg.detail
    gate.set()
    collection.upsert([Document("new", {"title": "fox"})])
    collection.delete(["d08"])
    until_renewed(collection)
    assert {r.doc_id for r in collection.lexical("fox", None, 100).recalled} >= {"new", "d09"}
    collection.delete(["new"])
    written = collection.upsert([Document("d08", {"text": "fox"})])
    assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
    assert_whole(collection)
    collection.close()


def test_a_search_on_the_replaced_index_goes_on(older: Path, monkeypatch):
    gate, step = threading.Event(), LexicalRenewal.step
    monkeypatch.setattr(LexicalRenewal, "step", lambda *given: (gate.wait(), step(*given))[1])
    collection = open_again(older)
    replaced = collection._derived.lexical
    gate.set()
    until_renewed(collection)
    assert len(replaced.search("fox", None, 100)) == 39
    collection.close()


@pytest.mark.parametrize("state", ["begun", "between", "put in place", "torn", "of others"])
def test_a_renewal_that_a_crash_broke_off_is_finished(older: Path, state: str):
    """The folders as they are when the process ends at each step of it."""
    lexical, new, old = (older / name for name in ("lexical", "lexical.new", "lexical.old"))
    collection = open_again(older)
    header = collection._store.header
    until_renewed(collection)
    collection.close()
    lexical.rename(new)
    rebuild(lexical, header, older)
    if state == "between":
        lexical.rename(old)
    elif state == "put in place":
        lexical.rename(old)
        new.rename(lexical)
    elif state == "torn":
        (new / ABOUT).unlink()
    elif state == "of others":
        rebuild(new, Header("id-other", "x", TWO_FIELDS), older, FORMAT)
    again = open_again(older)
    until_renewed(again)
    assert_whole(again)
    again.close()


def test_without_room_the_older_index_stays_and_it_is_tried_again(older: Path, monkeypatch, caplog):
    def full(folder: Path):
        return shutil._ntuple_diskusage(1 << 40, 1 << 40, 1000)

    monkeypatch.setattr(renewal_module, "RETRY_SECONDS", 0.05)
    said = threading.Event()
    warning = renewal_module._log.warning
    monkeypatch.setattr(
        renewal_module._log, "warning", lambda *given: (warning(*given), said.set())
    )
    with monkeypatch.context() as patched:
        patched.setattr("sidecar.recall.embedded.renewal.shutil.disk_usage", full)
        collection = open_again(older)
        assert said.wait(WAIT_SECONDS)
        assert "free bytes, 1,000 are there" in caplog.text
        written = collection.upsert([Document("later", {"text": "vole"})])
        assert collection.wait_searchable(written.sequence, WAIT_SECONDS)
        assert format_of(older) == 1
        leg = collection.lexical("vole", None, 5, field_weights={"title": 2.0})
        assert "the last attempt failed: " in leg.detail
        assert "free bytes" in leg.detail
        collection.delete(["later"])
    until_renewed(collection)
    assert_whole(collection)
    collection.close()


def test_a_successor_that_cannot_be_put_in_place_is_said(older: Path, monkeypatch):
    """The older index is opened again then, and knows what became of its successor."""

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(13, "made to fail", str(source))

    gate, step = threading.Event(), LexicalRenewal.step
    monkeypatch.setattr(LexicalRenewal, "step", lambda *given: (gate.wait(), step(*given))[1])
    monkeypatch.setattr(renewal_module, "rename_durably", refuse)
    collection = open_again(older)
    derived = collection._derived
    before = derived.lexical
    gate.set()
    assert derived._wait(lambda: derived.lexical is not before, WAIT_SECONDS)
    leg = collection.lexical("fox", None, 5, field_weights={"title": 2.0})
    assert (leg.reason, leg.recalled) == (StageReason.INDEX_UNAVAILABLE, ())
    assert "the last attempt failed: " in leg.detail
    assert "permission denied" in leg.detail
    assert len(collection.lexical("fox", None, 100).recalled) == 39
    collection.close()
    monkeypatch.undo()
    again = open_again(older)
    until_renewed(again)
    assert again._derived._renewal.failure == ""
    assert_whole(again)
    again.close()


def renewing(folder: str) -> None:
    """A process that renews an index, saying before each chunk and each rename that it comes."""

    def telling(what: str, call: Callable[..., object]) -> Callable[..., object]:
        return lambda *given: (print(what, flush=True), call(*given))[1]

    renewal_module.CHUNK_DOCUMENTS = 5
    renewal_module.rename_durably = telling("rename", renewal_module.rename_durably)
    LexicalRenewal.step = telling("step", LexicalRenewal.step)
    until_renewed(open_again(Path(folder)))
    print("renewed", flush=True)
    threading.Event().wait()


@pytest.mark.parametrize(
    ("word", "times"), [("step", 1), ("step", 4), ("rename", 1), ("rename", 2), ("renewed", 1)]
)
def test_a_process_killed_while_it_renews_loses_nothing(older: Path, word: str, times: int):
    """At the first chunk, amid the chunks, about the renames, and after it."""
    tests = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    call = f"import test_field_weights as it; it.renewing({str(older)!r})"
    with subprocess.Popen(
        [sys.executable, "-c", call],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*tests, *sys.path])},
    ) as process:
        assert process.stdout is not None
        said = (line.strip() == word for line in process.stdout)
        assert sum(itertools.islice(filter(None, said), times)) == times
        process.kill()
    again = open_again(older)
    until_renewed(again)
    assert_whole(again)
    again.close()
