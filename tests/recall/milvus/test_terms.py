"""Our terms as Milvus gets them: what its tokenizers make of them, and that none is another's."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from milvus_lite.analyzer.standard import StandardAnalyzer

from sidecar.recall.analyzers import chinese, english
from sidecar.recall.milvus.terms import document_terms, query_terms
from sidecar.types import Schema, TextField

ENGLISH = Schema((TextField("title"), TextField("text")))
CHINESE = Schema((TextField("text", "chinese"),))
BOTH = Schema((TextField("title", "chinese"), TextField("text", "english")))

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
    st.lists(st.sampled_from(["Foxes", "o'neil", "röd", "3.5", "北京大学", "ｉＰ", "x_y"])).map(
        " ".join
    ),
)


@given(texts)
def test_any_tokenizer_finds_the_same_words(text: str):
    for schema in (ENGLISH, CHINESE, BOTH):
        words = query_terms(text, schema).split()
        assert all(re.fullmatch("[a-z0-9]+", word) for word in words)
        assert StandardAnalyzer().tokenize(" ".join(words)) == words


@given(texts, texts)
def test_words_are_equal_where_terms_are(one: str, other: str):
    for schema, analyzer in ((ENGLISH, english), (CHINESE, chinese)):
        wanted = Counter(analyzer(one)) & Counter(analyzer(other))
        found = Counter(query_terms(one, schema).split()) & Counter(
            query_terms(other, schema).split()
        )
        assert found.total() == wanted.total()


@given(texts, texts)
def test_a_document_has_the_terms_of_its_fields(title: str, text: str):
    terms = document_terms({"title": title, "text": text}, ENGLISH)
    assert terms.split() == query_terms(title, ENGLISH).split() + query_terms(text, ENGLISH).split()


def test_two_analyzers_do_not_share_terms():
    title = set(document_terms({"title": "red fox"}, BOTH).split())
    text = set(document_terms({"text": "red fox"}, BOTH).split())
    assert not title & text
    assert set(query_terms("red fox", BOTH).split()) == title | text


def test_a_term_that_looks_like_an_encoded_one_is_another():
    assert set(query_terms("röd", ENGLISH).split()).isdisjoint(
        query_terms("r" + "röd".encode().hex(), ENGLISH).split()
    )
