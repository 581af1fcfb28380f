"""Where terms stand in a text, compatibility forms and combining marks included."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter

import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

import sidecar.recall.places as places_module
from sidecar.errors import ConfigurationError
from sidecar.recall.analyzers import ENGLISH_STOP_WORDS, analyzer, analyzer_names, han_words
from sidecar.recall.places import _clusters, _combines, places, words

# What folds to more or fewer characters, combines, or is of several scripts at once.
ODD = "ﬁﬀ½①㎏…™²ＡＢＣ１ｱﾞカﾞé\u0301\u0327\u0344eİßΣς가각각\u09c7\u09be\u1100\u1161"
ODD += "株㍿ﷺ北京大学天安门'’ _-.,\n"
texts = st.text(max_size=60) | st.text(alphabet=ODD + "abcdogs ", max_size=40)


def nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


@given(texts)
def test_they_are_the_terms_of_the_analyzer(text: str):
    for name in analyzer_names():
        found = list(places(name, text))
        assert Counter(place.term for place in found) == Counter(analyzer(name)(text))
        assert all(0 <= place.start < place.end <= len(text) for place in found)


@given(texts)
def test_what_stands_there_gives_the_term(text: str):
    # A small sigma is another one at the end of a word, and the place may be all of the word.
    text = text.translate(str.maketrans("Σς", "σσ"))
    for name in analyzer_names():
        for place in places(name, text):
            there = text[place.start : place.end]
            # jieba may cut a long word otherwise where it stands alone.
            assert place.term in analyzer(name)(there) or place.term in nfkc(there).lower()


@given(texts)
def test_a_text_folds_as_its_clusters_do(text: str):
    assert "".join(nfkc(text[start:end]) for start, end in _clusters(text)) == nfkc(text)


def test_all_that_unicode_composes_with_what_is_before_it_combines():
    seconds = set()
    for code in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            first, second = (chr(int(part, 16)) for part in parts)
            if nfkc(first + second) != nfkc(first) + nfkc(second):
                seconds.add(second)
    assert len(seconds) > 60
    assert [hex(ord(one)) for one in seconds if not _combines(one)] == []
    assert not any(map(_combines, "aZ0 .,'é北가ᄀ½ﬁ"))


@pytest.mark.parametrize(
    ("text", "term", "there"),
    [
        ("a ﬁne day", "fine", "ﬁne"),
        ("the oﬃce", "offic", "oﬃce"),
        ("wait… ＡＢＣ１２３ here", "abc123", "ＡＢＣ１２３"),
        ("½… cafe\u0301s open", "café", "cafe\u0301s"),
        ("… the dog’s bones", "dog", "dog’s"),
        ("5㎏ rice", "5kg", "5㎏"),
        ("İ dogs", "dog", "dogs"),
        ("ｶﾞｽ stove", "ガス", "ｶﾞｽ"),
        ("™ 각", "각", "각"),
        ("E\u0300\u0327", "ȩ", "E\u0300\u0327"),
    ],
)
def test_places_are_those_of_the_text_as_it_is(text: str, term: str, there: str):
    found = [text[place.start : place.end] for place in places("english", text)]
    assert there in found
    terms = {text[place.start : place.end]: place.term for place in places("english", text)}
    assert terms[there] == term


def test_chinese_places():
    text = "，，我爱北京天安门！ＯＫ"
    found = {(text[place.start : place.end], place.term) for place in places("chinese", text)}
    assert {("天安门", "天安门"), ("北京", "北京"), ("京天", "京天"), ("门", "门")} <= found
    assert ("ＯＫ", "ok") in found


@given(st.lists(st.sampled_from(["dog", "Dogs", "the", "RUNNING", "run", ", ", "\n", "… ", "x1"])))
def test_english_places_are_those_of_a_plain_scan(parts: list[str]):
    text = " ".join(parts)
    stem = Stemmer.Stemmer("english").stemWord
    wanted = [
        (stem(match.group().lower()), match.start(), match.end())
        for match in re.finditer(r"[A-Za-z0-9]+", text)
        if match.group().lower() not in ENGLISH_STOP_WORDS
    ]
    assert [(place.term, place.start, place.end) for place in places("english", text)] == wanted


def test_words_of_a_query():
    assert words("english", "The running dogs of 西安") == {"run", "dog", "西", "安"}
    assert words("chinese", "北京大学的猫 Cats") == {"北京", "大学", "北京大学", "猫", "cat"}
    # jieba takes a name for a word that is in no dictionary, and may not do so in a text.
    assert words("chinese", "李小福") >= {"李小", "小福"}
    assert words("chinese", "的") == frozenset()
    with pytest.raises(ConfigurationError, match="chinese, english"):
        words("klingon", "nuq")
    with pytest.raises(ConfigurationError, match="chinese, english"):
        places("klingon", "nuq")


@given(st.text(alphabet="北京大学天安门李小福哈", max_size=40))
def test_words_without_words_in_them_are_those_of_a_plain_scan(run: str):
    found = han_words(run)
    wanted = {term for term, _ in found}
    for term, start in found:
        inside = [one for one, at in found if start <= at < start + len(term) and one != term]
        wanted |= set() if inside else {term[at : at + 2] for at in range(len(term) - 1)}
    assert words("chinese", run) == wanted


def test_a_long_query_is_read_in_time_that_grows_as_it_does(monkeypatch):
    looked_at = 0

    class Counted(str):
        def __ne__(self, other: object) -> bool:
            nonlocal looked_at
            looked_at += 1
            return str.__ne__(self, other)

        def __eq__(self, other: object) -> bool:
            nonlocal looked_at
            looked_at += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    found = [(Counted("李小"), 2 * at) for at in range(2000)]
    monkeypatch.setattr(places_module, "han_words", lambda _: found)
    assert words("chinese", "李小" * 2000) == {"李小"}
    assert looked_at < 20 * 2000
