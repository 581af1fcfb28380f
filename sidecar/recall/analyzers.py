"""Analyzers: text -> terms. One analyzer reads a field's documents and the queries over it.

english: words of letters and digits in lower case, Lucene's stop words dropped, Porter2 stems.
chinese: for each run of Han characters its words (jieba, with the words inside long ones), its
characters and its bigrams; other words as in english.
Both fold compatibility forms (full-width letters and digits) by NFKC first. Where in a text its
terms stand is in places.py.
"""

from __future__ import annotations

import functools
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator

import rjieba
import Stemmer

from sidecar.errors import ConfigurationError

Analyzer = Callable[[str], list[str]]

# Raise it whenever an analyzer gives other terms than before: lexical indexes are then rebuilt.
ANALYZERS_VERSION = 2
# Longer words are cut: nobody searches for them, and they fill the term dictionary.
MAX_TERM_CHARACTERS = 64

# org.apache.lucene.analysis.en.EnglishAnalyzer.ENGLISH_STOP_WORDS_SET
_ENGLISH_STOP_WORDS = """a an and are as at be but by for if in into is it no not of on or such that
the their then there these they this to was will with"""
ENGLISH_STOP_WORDS = frozenset(_ENGLISH_STOP_WORDS.split())
# Particles and pronouns so frequent that, alone, they say nothing about a text.
CHINESE_STOP_WORDS = frozenset("的了是在和与或及也都就而着吗呢吧啊")

HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
# A run of Han characters, or a word of other letters and digits with its English apostrophe.
_PIECES = re.compile(rf"([{HAN}]+)|([^\W_{HAN}]+(?:['’][^\W_{HAN}]+)?)")
_POSSESSIVE = re.compile("['’]s$")

_thread = threading.local()


def analyzer(name: str) -> Analyzer:
    """The analyzer of that name. Raises ConfigurationError for an unknown one."""
    try:
        return _ANALYZERS[name]
    except KeyError:
        known = ", ".join(sorted(_ANALYZERS))
        raise ConfigurationError(f"unknown analyzer {name!r}: give one of {known}") from None


def analyzer_names() -> tuple[str, ...]:
    """The names that `analyzer` knows."""
    return tuple(_ANALYZERS)


def english(text: str) -> list[str]:
    """Terms of English text, in order. Han characters in it count as one word each."""
    terms: list[str] = []
    for run, word in _pieces(text):
        terms.extend(run if run else english_terms(word))
    return terms


def chinese(text: str) -> list[str]:
    """Terms of Chinese text: per run of Han characters its words, characters and bigrams.

    What is both a word and a bigram is given twice, so that it outweighs a bigram across two words.
    On qbqtc_v1 (950 queries, BM25 nDCG@10 / R@100): words alone .720 / .954, bigrams alone .735 /
    .975, characters and bigrams .757 / .981, all three .765 / .979.
    """
    terms: list[str] = []
    for run, word in _pieces(text):
        terms.extend(_han_terms(run) if run else english_terms(word))
    return terms


def fold(text: str) -> str:
    """The form in which analyzers read a text; it may be of another length."""
    return unicodedata.normalize("NFKC", text).lower()


def placed_pieces(folded: str) -> Iterator[tuple[bool, str, int]]:
    """(whether it is of Han characters, run of them or other word, where it begins)."""
    for match in _PIECES.finditer(folded):
        yield match.lastindex == 1, match.group(), match.start()


def _pieces(text: str) -> list[tuple[str, str]]:
    """(run of Han characters or "", other word or "") in the order of a text."""
    return _PIECES.findall(fold(text))


def english_terms(word: str) -> tuple[str, ...]:
    """The term of one folded word; none of a stop word."""
    # Most words of a text are frequent ones; long ones would take the memory of many.
    return _known_terms(word) if len(word) <= MAX_TERM_CHARACTERS else _terms_of(word)


@functools.lru_cache(maxsize=1 << 15)
def _known_terms(word: str) -> tuple[str, ...]:
    return _terms_of(word)


def _terms_of(word: str) -> tuple[str, ...]:
    bare = _POSSESSIVE.sub("", word)[:MAX_TERM_CHARACTERS].replace("’", "'")
    if bare in ENGLISH_STOP_WORDS:
        return ()
    return (_stemmer().stemWord(bare),)


def _han_terms(run: str) -> list[str]:
    words = [word for word in rjieba.cut_for_search(run) if word not in CHINESE_STOP_WORDS]
    bigrams = [run[start : start + 2] for start in range(len(run) - 1)]
    return [*words, *run, *bigrams]


def han_words(run: str) -> list[tuple[str, int]]:
    """The words of a run of Han characters that are terms, each with where it begins."""
    tokens = rjieba.tokenize(run, "search")
    return [(word, start) for word, start, _ in tokens if word not in CHINESE_STOP_WORDS]


def _stemmer() -> Stemmer.Stemmer:
    """This thread's stemmer: the objects are not safe to share between threads."""
    if not hasattr(_thread, "stemmer"):
        _thread.stemmer = Stemmer.Stemmer("english")
    return _thread.stemmer


_ANALYZERS: dict[str, Analyzer] = {"english": english, "chinese": chinese}
