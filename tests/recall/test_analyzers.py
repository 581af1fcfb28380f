"""Terms of English and Chinese text."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import ConfigurationError
from sidecar.recall.analyzers import (
    _PIECES,
    ENGLISH_STOP_WORDS,
    HAN,
    analyzer,
    analyzer_names,
)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The dogs are running.", ["dog", "run"]),
        ("The dog's bones; the dogs’ house", ["dog", "bone", "dog", "hous"]),
        ("wait_for asyncio.gather", ["wait", "asyncio", "gather"]),
        ("ＡＢＣ １２３", ["abc", "123"]),
        ("CAFÉ naïve", ["café", "naïv"]),
        ("C++ 3.5", ["c", "3", "5"]),
        ("to be or not to be", []),
        ("?!…  \n", []),
        ("", []),
        ("西安 city", ["西", "安", "citi"]),
    ],
)
def test_english(text: str, terms: list[str]):
    assert analyzer("english")(text) == terms


def test_lucene_has_33_stop_words():
    assert len(ENGLISH_STOP_WORDS) == 33


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20))
def test_english_stems_are_porter2(word: str):
    stems = [] if word in ENGLISH_STOP_WORDS else [Stemmer.Stemmer("english").stemWord(word)]
    assert analyzer("english")(word.upper()) == stems


def test_chinese_gives_words_characters_and_bigrams():
    terms = analyzer("chinese")("我爱北京天安门")
    words = ["我", "爱", "北京", "天安", "天安门"]
    characters = ["我", "爱", "北", "京", "天", "安", "门"]
    bigrams = ["我爱", "爱北", "北京", "京天", "天安", "安门"]
    assert sorted(terms) == sorted([*words, *characters, *bigrams])


def test_chinese_mixes_with_latin_words_and_full_width():
    assert analyzer("chinese")("猫 iPhone１５手机壳 Cases") == [
        *("猫", "猫"),
        "iphone15",
        *analyzer("chinese")("手机壳"),
        "case",
    ]


def test_chinese_particles_are_no_words():
    assert analyzer("chinese")("我的书").count("的") == 1
    assert analyzer("chinese")("我的书").count("书") == 2
    assert analyzer("chinese")("，。！") == []


@given(st.text(max_size=200))
def test_terms_hold_no_white_space_and_repeat_exactly(text: str):
    for name in analyzer_names():
        terms = analyzer(name)(text)
        assert all(term and not any(c.isspace() for c in term) for term in terms)
        assert all(len(term) <= 64 for term in terms)
        assert terms == analyzer(name)(text)


def test_pieces_are_runs_of_han_and_words_of_other_letters():
    """The classes of the pattern, against what they mean, character by character."""
    han = re.compile(f"[{HAN}]")
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        found = _PIECES.findall(character)
        if han.match(character):
            assert found == [(character, "")]
        elif character.isalnum():
            assert found == [("", character)]
        else:
            assert found == []
    assert _PIECES.findall("don't_x'y'z 西a's安’") == [
        *(("", "don't"), ("", "x'y"), ("", "z"), ("西", ""), ("", "a's"), ("安", ""))
    ]


def test_threads_do_not_share_a_stemmer():
    words = [f"runn{'ing' * (n % 3)} nationally conditional{n}" for n in range(300)]
    expected = [analyzer("english")(text) for text in words]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(analyzer("english"), words)) == expected


def test_an_unknown_analyzer_names_the_known_ones():
    with pytest.raises(ConfigurationError, match="chinese, english"):
        analyzer("klingon")
