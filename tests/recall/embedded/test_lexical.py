"""The lexical index against rank_bm25 and bm25s over the same terms, and its life on disk."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from rank_bm25 import BM25Okapi
from recalling import SCHEMA

import sidecar.recall.embedded.lexical as lexical_module
from sidecar.errors import DamagedError, StorageError
from sidecar.recall.analyzers import english
from sidecar.recall.embedded.lexical import MAX_QUERY_TERMS, LexicalIndex, open_lexical
from sidecar.recall.embedded.tantivy_files import META, check_segments
from sidecar.storage.headers import Header
from sidecar.storage.text_changes import TextChange, TextChanges
from sidecar.types import AttributeField, AttributeType, Schema, TextField

HEADER = Header("id-1", "things", SCHEMA)
PASSAGES, QUERIES, DEPTH = 3000, 60, 10


def change(ordinal: int, text: str, sequence: int = 0, **attributes) -> TextChange:
    return TextChange(ordinal, sequence or ordinal, {"text": text}, attributes)


@pytest.fixture
def index(tmp_path: Path):
    index = open_lexical(tmp_path / "lexical", HEADER)
    yield index
    index.close()


@pytest.fixture(scope="module")
def text():
    """Passages of Zipf-distributed words, of many lengths, and queries of rarer words."""
    rng = np.random.default_rng(3)
    words = np.array([f"w{number}q" for number in range(4000)])

    def draw(length: int) -> str:
        return " ".join(words[np.minimum(rng.zipf(1.3, length), 3999)])

    passages = [draw(int(rng.integers(5, 120))) for _ in range(PASSAGES)]
    queries = [" ".join(words[rng.integers(3, 400, 4)]) for _ in range(QUERIES)]
    return passages, queries


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, text):
    index = open_lexical(tmp_path_factory.mktemp("large") / "lexical", HEADER)
    passages, _ = text
    for start in range(0, PASSAGES, 1000):
        changes = [change(n + 1, passages[n]) for n in range(start, start + 1000)]
        index.apply(TextChanges(start + 1000, changes, []))
    yield index
    index.close()


def ndcg(ranking: list[int], gains: np.ndarray) -> float:
    """nDCG@10 with another scorer's scores as gains."""
    discounts = 1 / np.log2(np.arange(2, DEPTH + 2))
    ideal = np.sort(gains)[::-1][:DEPTH] @ discounts
    return float(gains[ranking] @ discounts[: len(ranking)] / ideal)


def compare(index: LexicalIndex, queries: list[str], scores_of) -> tuple[float, float]:
    """Mean overlap@10 and mean nDCG@10 against another scorer of the same passages."""
    overlaps, ndcgs = [], []
    for query in queries:
        scores = scores_of(english(query))
        found = [ordinal - 1 for ordinal, _ in index.search(query, None, DEPTH) or []]
        best = np.argsort(-scores, kind="stable")[:DEPTH]
        best = best[scores[best] > 0]
        if len(best) == 0:
            continue
        overlaps.append(len(set(found) & set(best.tolist())) / len(best))
        ndcgs.append(ndcg(found, np.maximum(scores, 0)))
    return float(np.mean(overlaps)), float(np.mean(ndcgs))


def test_against_bm25s(large: LexicalIndex, text, capsys):
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.ERROR)
    passages, queries = text
    oracle = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    oracle.index([english(passage) for passage in passages], show_progress=False)
    overlap, closeness = compare(large, queries, oracle.get_scores)
    # Lengths are kept in 8 bits, so near ties change places.
    assert overlap > 0.95
    assert closeness > 0.999


def test_against_rank_bm25(large: LexicalIndex, text):
    passages, queries = text
    oracle = BM25Okapi([english(passage) for passage in passages], k1=1.2, b=0.75)
    overlap, closeness = compare(large, queries, oracle.get_scores)
    # Its idf lacks Lucene's "1 +", which tells most for the commonest terms.
    assert overlap > 0.9
    assert closeness > 0.995


def test_scores_are_lucenes_bm25(index: LexicalIndex):
    # tf 2 in a passage of 4 terms, average (4 + 2 + 2) / 3 over 3 documents and the sentinel.
    index.apply(
        TextChanges(
            3, [change(1, "fox fox dog cat"), change(2, "dog cat"), change(3, "owl elk")], []
        )
    )
    ((ordinal, score),) = index.search("fox", None, 5)
    documents, average = 4, 8 / 4
    idf = np.log(1 + (documents - 1 + 0.5) / (1 + 0.5))
    expected = idf * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 4 / average))
    assert ordinal == 1
    assert score == pytest.approx(expected, rel=1e-4)


def test_a_repeated_query_term_weighs_more(index: LexicalIndex):
    index.apply(TextChanges(2, [change(1, "fox"), change(2, "owl")], []))
    once = dict(index.search("fox owl", None, 5))
    twice = dict(index.search("fox owl fox", None, 5))
    assert once[1] == once[2]
    assert twice[1] == pytest.approx(2 * once[1], rel=1e-5)
    assert twice[2] == pytest.approx(once[2], rel=1e-5)


def test_queries_without_terms_and_without_finds(index: LexicalIndex):
    assert index.search("the ?!", None, 5) is None
    assert index.search("fox", None, 5) == []
    index.apply(TextChanges(1, [change(1, "owl")], []))
    assert index.search("fox", None, 5) == []


def test_a_very_long_query_keeps_its_rarest_terms(index: LexicalIndex):
    common = " ".join(f"c{number}" for number in range(2000))
    index.apply(TextChanges(3, [change(1, common), change(2, common), change(3, "rare")], []))
    found = dict(index.search(f"{common} rare", None, 5))
    assert set(found) == {1, 2, 3}
    longest = dict(index.search(common, None, 5))[1]
    few = " ".join(f"c{number}" for number in range(MAX_QUERY_TERMS))
    assert longest == pytest.approx(dict(index.search(few, None, 5))[1], rel=1e-5)


def test_replacing_and_deleting(index: LexicalIndex):
    index.apply(TextChanges(2, [change(1, "fox"), change(2, "owl")], []))
    index.apply(TextChanges(4, [change(1, "elk", sequence=3)], [2]))
    assert index.search("fox owl", None, 5) == []
    assert index.sequences() == {1: 3}
    assert (index.count, index.watermark) == (1, 4)
    index.apply(TextChanges(5, [], [1]))
    assert (index.count, index.sequences(), index.watermark) == (0, {}, 5)


def test_a_failure_midway_leaves_the_commit_before(index: LexicalIndex, monkeypatch):
    index.apply(TextChanges(2, [change(1, "fox"), change(2, "owl")], []))
    to_entry = index._to_entry

    def fail_at_two(each: TextChange):
        if each.ordinal == 2:
            raise ValueError("made to fail")
        return to_entry(each)

    monkeypatch.setattr(index, "_to_entry", fail_at_two)
    after = TextChanges(5, [change(1, "elk", 4), change(2, "elk", 5)], [])
    with pytest.raises(StorageError, match="made to fail"):
        index.apply(after)
    assert (index.watermark, index.sequences()) == (2, {1: 1, 2: 2})
    monkeypatch.undo()
    index.apply(after)
    assert (index.watermark, index.sequences()) == (5, {1: 4, 2: 5})
    assert index.search("fox owl", None, 5) == []
    assert index.check() == []


def test_a_search_under_way_keeps_its_state(index: LexicalIndex):
    index.apply(TextChanges(1, [change(1, "fox")], []))
    before = index._searcher
    index.apply(TextChanges(2, [], [1]))
    assert before.num_docs == 2
    assert index.search("fox", None, 5) == []


def test_reopened_it_is_as_committed(tmp_path: Path):
    folder = tmp_path / "lexical"
    index = open_lexical(folder, HEADER)
    index.apply(TextChanges(7, [change(1, "fox", colour="red")], []))
    index.close()
    again = open_lexical(folder, HEADER)
    assert (again.watermark, again.count, again.sequences()) == (7, 1, {1: 1})
    assert again.check() == []
    again.close()


def test_two_analyzers_are_two_fields_of_one_index(tmp_path: Path):
    schema = Schema(text_fields=(TextField("en"), TextField("zh", "chinese"), TextField("more")))
    index = open_lexical(tmp_path / "lexical", Header("x", "y", schema))
    fields = [{"en": "dogs"}, {"zh": "我爱北京天安门"}, {"more": "dogs bark"}, {"zh": "狗 dogs"}]
    index.apply(
        TextChanges(4, [TextChange(n + 1, n + 1, each, {}) for n, each in enumerate(fields)], [])
    )
    assert {o for o, _ in index.search("dog", None, 9)} == {1, 3, 4}
    assert [o for o, _ in index.search("天安门", None, 9)] == [2]
    index.close()


@pytest.mark.parametrize("what", ["header", "schema", "version", "about"])
def test_an_index_of_another_kind_is_refused(tmp_path: Path, monkeypatch, what: str):
    folder, header = tmp_path / "lexical", HEADER
    open_lexical(folder, HEADER).close()
    if what == "header":
        header = Header("id-2", "things", SCHEMA)
    if what == "schema":
        schema = Schema(attributes=(AttributeField("other", AttributeType.STRING),))
        header = Header("id-1", "things", schema)
    if what == "version":
        monkeypatch.setattr(lexical_module, "ANALYZERS_VERSION", 99)
    if what == "about":
        (folder / "about.json").write_text("{")
    with pytest.raises(StorageError):
        open_lexical(folder, header)


@pytest.mark.parametrize("without", [["about.json"], ["about.json", META], [], None])
def test_one_that_a_crash_left_unfinished_was_never_there(tmp_path: Path, without):
    """At each step of its making; None: only the folder."""
    folder = tmp_path / "lexical"
    open_lexical(folder, HEADER).close()
    for path in list(folder.iterdir()) if without is None else [folder / n for n in without]:
        path.unlink()
    index = open_lexical(folder, HEADER)
    assert (index.count, index.watermark) == (0, 0)
    index.apply(TextChanges(1, [change(1, "fox")], []))
    index.close()
    index = open_lexical(folder, HEADER)
    assert index.search("fox", None, 5) is not None
    assert index.count == 1
    index.close()


@pytest.mark.parametrize("without", [["about.json"], ["about.json", META], [META]])
def test_one_with_a_commit_is_damaged_without_what_says_so(tmp_path: Path, without: list[str]):
    folder = tmp_path / "lexical"
    index = open_lexical(folder, HEADER)
    index.apply(TextChanges(1, [change(1, "fox")], []))
    index.close()
    for name in without:
        (folder / name).unlink()
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(DamagedError, match="missing"):
        open_lexical(folder, HEADER)
    assert sorted(path.name for path in folder.iterdir()) == before


def test_every_flipped_byte_of_a_segment_is_found(tmp_path: Path):
    folder = tmp_path / "lexical"
    index = open_lexical(folder, HEADER)
    index.apply(TextChanges(2, [change(1, "fox"), change(2, "owl")], []))
    index.apply(TextChanges(3, [], [1]))
    index.close()
    segments = json.loads((folder / META).read_bytes())["segments"]
    live = [
        path
        for path in folder.iterdir()
        if any(path.name.startswith(s["segment_id"].replace("-", "")) for s in segments)
    ]
    assert {path.suffix for path in live} >= {".idx", ".term", ".fast", ".store", ".fieldnorm"}
    for path in live:
        whole = path.read_bytes()
        body = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        for position in range(0, body, max(1, body // 20)):
            path.write_bytes(
                whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
            )
            assert check_segments(folder), (path.suffix, position)
        path.write_bytes(whole[: len(whole) // 2])
        assert check_segments(folder)
        path.unlink()
        assert check_segments(folder)
        path.write_bytes(whole)
    assert check_segments(folder) == []


def test_a_commit_that_a_crash_broke_off_is_made_again(tmp_path: Path):
    """All files of a commit are there, but not what makes it one: meta.json is the older."""

    def deleted(ordinals: list[int]) -> TextChanges:
        return TextChanges(upto=11, written=[], deleted=ordinals)

    folder, crashed = tmp_path / "lexical", tmp_path / "crashed"
    index = open_lexical(folder, HEADER)
    written = [TextChange(n, n, {"title": "common"}, {}) for n in range(1, 11)]
    index.apply(TextChanges(upto=10, written=written, deleted=[]))
    index.close()
    shutil.copytree(folder, crashed)
    index = open_lexical(folder, HEADER)
    index.apply(deleted([3, 4]))
    index.close()
    for path in folder.iterdir():
        if path.name == ".managed.json" or not (crashed / path.name).exists():
            shutil.copy(path, crashed / path.name)
    assert list(crashed.glob("*.del"))
    index = open_lexical(crashed, HEADER)
    assert index.watermark == 10
    index.apply(deleted([3, 4]))
    assert (index.watermark, index.count, index.check()) == (11, 8, [])
    index.close()


def test_nothing_is_written_once_its_folder_is_left_to_others(tmp_path: Path):
    """Every eighth commit makes a merge, which takes longer than to give the writer up."""
    words = " ".join(f"w{number}" for number in range(20_000))
    for attempt in range(3):
        folder = tmp_path / f"lexical-{attempt}"
        index = open_lexical(folder, HEADER)
        for number in range(1, 9):
            index.apply(TextChanges(number, [change(number, f"{words} x{number}")], []))
        index.close(leaves_folder=True)
        index.close(leaves_folder=True)
        shutil.rmtree(folder)  # fails where a file is added meanwhile
        assert not folder.exists()
