"""Highlights against a plain scan and a search through all windows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

import sidecar.recall.highlights as highlights_module
from sidecar.recall.analyzers import ENGLISH_STOP_WORDS, analyzer
from sidecar.recall.fragment_cut import is_border
from sidecar.recall.highlights import (
    Fragment,
    Highlighter,
    Highlighting,
    fragments_of,
    marks_of,
)
from sidecar.recall.places import words
from sidecar.types import Schema, TextField

CHINESE = Schema(text_fields=(TextField("text", "chinese"),))
WORDS = ["dog", "Dogs", "running", "run", "cat", "the", "Foxes", "a", "cats.", "…", "end!", "fox,"]
PIECES = [*WORDS, "\n", "ﬁsh", "cafe\u0301", "ＡＢＣ", "北京大学", "天安门。", "x" * 70, "İ", "½"]
english_texts = st.lists(st.sampled_from(WORDS), max_size=80).map(" ".join)
texts = st.lists(st.sampled_from(PIECES), max_size=60).map(" ".join) | st.text(max_size=200)
queries = st.lists(
    st.sampled_from(
        ["dog", "runs", "cat", "fox", "fish", "café", "abc", "大学", "天安门", "x" * 70]
    ),
    min_size=1,
    max_size=4,
).map(" ".join)
counts, sizes = st.integers(1, 10), st.integers(40, 200)


def highlight(text: str, query: str, analyzer_name: str, count: int, most: int) -> list[Fragment]:
    schema = Schema(text_fields=(TextField("text", analyzer_name),))
    highlighter = Highlighter(query, schema, Highlighting(("text",), count, most))
    return [fragment for _, fragment in highlighter.highlights({"text": text})]


@given(texts, queries, st.sampled_from(["english", "chinese"]), counts, sizes)
def test_the_laws(text: str, query: str, name: str, count: int, most: int):
    fragments = highlight(text, query, name, count, most)
    wanted = set(analyzer(name)(query))
    assert len(fragments) <= count
    for fragment in fragments:
        assert fragment.text in text
        assert 0 < len(fragment.text) <= most
        assert fragment.spans
        ends = [0, *(end for _, end in fragment.spans)]
        starts = [*(start for start, _ in fragment.spans), len(fragment.text)]
        assert all(end <= start for end, start in zip(ends, starts, strict=True))
        for start, end in fragment.spans:
            assert wanted & set(analyzer(name)(fragment.text[start:end]))


@given(english_texts, queries)
def test_what_is_marked_is_what_a_plain_scan_finds(text: str, query: str):
    stem = Stemmer.Stemmer("english").stemWord
    wanted = {stem(word) for word in query.split()}
    found = [
        (match.start(), match.end())
        for match in re.finditer(r"[A-Za-z]+", text)
        if match.group().lower() not in ENGLISH_STOP_WORDS and stem(match.group().lower()) in wanted
    ]
    fragments = highlight(text, query, "english", 1, 2000)
    assert [fragment.text for fragment in fragments] == ([text] if found else [])
    assert [span for fragment in fragments for span in fragment.spans] == found


def distinct_in(text: str, wanted: frozenset[str], start: int, end: int) -> int:
    """Wanted terms, by a scan of its own, that stand as a whole in text[start:end]."""
    stem = Stemmer.Stemmer("english").stemWord
    held: Iterable[re.Match[str]] = re.finditer(r"[A-Za-z]+", text)
    inside = [m.group().lower() for m in held if start <= m.start() and m.end() <= end]
    return len({stem(word) for word in inside if word not in ENGLISH_STOP_WORDS} & wanted)


@given(english_texts, queries, sizes)
def test_the_first_fragment_has_as_many_of_the_words_as_any_window(
    text: str, query: str, most: int
):
    wanted = words("english", query)
    best = max((distinct_in(text, wanted, at, at + most) for at in range(len(text))), default=0)
    fragments = highlight(text, query, "english", 3, most)
    shown = [distinct_in(one.text, wanted, 0, len(one.text)) for one in fragments]
    assert shown[:1] == ([best] if best else [])


@given(texts, queries, sizes)
def test_fragments_are_disjoint_and_cut_no_word(text: str, query: str, most: int):
    text = text.replace("x" * 70, "y")
    marks = marks_of(text, "english", words("english", query), most)
    fragments = fragments_of(text, marks, 10, most)
    at = sorted(_places_of(text, fragments))
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(at))
    if max(map(len, re.split(r"\s", text))) < most // 4:
        assert all(is_border(text, edge) for place in at for edge in place)


def _places_of(text: str, fragments: list[Fragment]) -> Iterable[tuple[int, int]]:
    """One place for each, none twice: equal fragments stand at different ones."""
    taken: list[tuple[int, int]] = []
    for fragment in fragments:
        starts = [m.start() for m in re.finditer(f"(?={re.escape(fragment.text)})", text)]
        free = [
            (start, start + len(fragment.text))
            for start in starts
            if all(start + len(fragment.text) <= low or high <= start for low, high in taken)
        ]
        assert free
        taken.append(free[0])
    return taken


STORY = (
    "It rained all day long in the old town. Nobody was out, and the shops had closed. "
    "Then a fox ran over the market square. The fox was red! Dogs barked at it, all night. "
    "In the morning it was gone, and nobody spoke of it."
)


@pytest.mark.parametrize(
    ("query", "most", "expected"),
    [
        ("red fox", 60, ["Then a fox ran over the market square. The fox was red!"]),
        ("dogs", 40, ["Dogs barked at it, all night."]),
        ("morning", 80, ["In the morning it was gone, and nobody spoke of it."]),
        ("spoke", 90, [STORY[STORY.index("Dogs") :]]),
        ("market town", 50, ["It rained all day long in the old town."]),
        ("shop square", 70, ["the shops had closed. Then a fox ran over the market square."]),
        ("elk", 60, []),
        ("the", 60, []),
    ],
)
def test_fragments_are_cut_at_sentences(query: str, most: int, expected: list[str]):
    assert [one.text for one in highlight(STORY, query, "english", 1, most)] == expected


def test_chinese_fragments():
    text = "今天下雨了。我爱北京天安门，天安门上太阳升！东京大学的学生在学习。他买了一只猫。"
    (best,) = highlight(text, "天安门 北京", "chinese", 1, 40)
    assert best.text.startswith("今天下雨了。我爱北京天安门，天安门上太阳升！")
    assert [best.text[start:end] for start, end in best.spans] == ["北京", "天安门", "天安门"]
    (found,) = highlight(text, "北京大学", "chinese", 1, 160)
    assert [found.text[start:end] for start, end in found.spans] == ["北京", "大学"]
    assert highlight(text, "狗", "chinese", 1, 160) == []


def test_fields_are_in_the_order_asked_and_each_by_its_analyzer():
    schema = Schema(text_fields=(TextField("en"), TextField("zh", "chinese"), TextField("more")))
    wanted = Highlighting(("zh", "en"), fragments=2, fragment_characters=40)
    highlighter = Highlighter("dogs 北京", schema, wanted)
    fields = {"en": "A dog. " * 20, "zh": "北京 dog", "more": "dog"}
    found = highlighter.highlights(fields)
    assert [name for name, _ in found] == ["zh", "en", "en"]
    assert found[0][1] == Fragment("北京 dog", ((0, 2), (3, 6)))
    assert highlighter.highlights({"more": "dog"}) == []


def test_what_combines_is_not_cut_off():
    assert not is_border("e\u0301", 1)
    assert not is_border("don't", 3)
    assert is_border("北京", 1)
    assert is_border("end. Next", 4)
    assert not is_border("ab", 1)


def test_a_text_that_is_all_marks_takes_no_more_than_its_first(monkeypatch):
    looked_at = []
    monkeypatch.setattr(highlights_module, "MAX_MARKS", 5_000)
    windows = highlights_module._windows
    monkeypatch.setattr(
        highlights_module,
        "_windows",
        lambda marks, most: (looked_at.append(len(marks)), windows(marks, most))[1],
    )
    fragments = highlight("dog " * 50_000, "dogs", "english", 10, 40)
    assert len(fragments) == 10
    assert all(len(fragment.spans) == 10 for fragment in fragments)
    assert max(looked_at) == highlights_module.MAX_MARKS


def test_of_a_long_text_the_begin_is_read(monkeypatch):
    monkeypatch.setattr(highlights_module, "MAX_TEXT_CHARACTERS", 100)
    text = "word " * 15 + "fox " + "word " * 3 + "dogs and foxes"
    (fragment,) = highlight(text, "dog fox", "english", 1, 2000)
    assert text.index("and") < 100 < text.index(" foxes")
    assert fragment.text == text[: text.index(" and")]
    assert [fragment.text[start:end] for start, end in fragment.spans] == ["fox", "dogs"]


def test_of_many_texts_the_first_are_read_in_every_ranking(monkeypatch):
    monkeypatch.setattr(highlights_module, "MAX_CHARACTERS", 20)
    schema = Schema(text_fields=(TextField("text"),))
    highlighter = Highlighter("dog", schema, Highlighting(("text",)))
    for texts in (["a dog is 1", "a dog is 2", "a dog is 3"], ["a dog is 3", "a dog is 1", "dog"]):
        highlighter.begin_ranking()
        found = [bool(highlighter.highlights({"text": text})) for text in texts]
        assert found == [True, True, False]


@pytest.mark.parametrize("most", [40, 160, 2000])
def test_words_that_overlap_for_longer_than_a_fragment_are_shown_all_the_same(most: int):
    text = "他说" + "哈" * 300 + "。"
    fragments = highlight(text, "哈哈哈", "chinese", 2, most)
    assert len(fragments) == (1 if most == 2000 else 2)
    assert sum(end - start for start, end in fragments[0].spans) >= min(most, 303) - 4
    assert all(start < end <= len(one.text) for one in fragments for start, end in one.spans)
