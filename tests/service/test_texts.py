"""Texts sent by digest: what is kept, what is looked up, what is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.service.messages import rerank
from sidecar.service.messages.rerank import CandidateList
from sidecar.service.texts import Texts
from sidecar.v1.rerank_pb2 import Candidate

MIB = 1024 * 1024


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def passages(texts: Texts, *candidates: Candidate) -> list[str | None]:
    read = CandidateList(texts)
    read.extend(candidates)
    return [candidate.passage for candidate in read.close()]


def candidate(digest: bytes = b"", **fields: Any) -> Candidate:
    return Candidate(doc_id="a", content_digest=digest, **fields)


@pytest.mark.parametrize(
    ("title", "text", "read"),
    [
        ("Tea", "green", "Tea\ngreen"),
        ("", "green", "green"),
        (" \n", "green", "green"),
        ("Tea", "\t", "Tea"),
        ("茶", "绿", "茶\n绿"),
        ("", "", ""),
        (" ", " ", ""),
    ],
)
def test_a_text_sent_once_with_its_digest_is_found_by_it(title: str, text: str, read: str) -> None:
    texts, digest = Texts(MIB), sha256(read)
    assert passages(texts, candidate(digest)) == [None if read else ""]
    assert passages(texts, candidate(digest, title=title, text=text)) == [read]
    assert passages(texts, candidate(digest)) == [read]


def test_a_text_without_a_digest_is_not_kept() -> None:
    texts = Texts(MIB)
    assert passages(texts, candidate(text="tea")) == ["tea"]
    assert passages(texts, candidate(sha256("tea"))) == [None]


def test_an_empty_candidate_without_a_digest_has_an_empty_text() -> None:
    assert passages(Texts(MIB), candidate()) == [""]


@pytest.mark.parametrize(
    ("digest", "text", "words"),
    [
        (b"x", "tea", "has 1 bytes"),
        (bytes(33), "", "has 33 bytes"),
        (sha256("coffee"), "tea", "is not the SHA-256"),
        (sha256("Tea tea"), "tea", "is not the SHA-256"),
    ],
)
def test_a_wrong_digest_is_refused_and_nothing_is_kept(
    digest: bytes, text: str, words: str
) -> None:
    texts = Texts(MIB)
    with pytest.raises(InvalidFieldError, match=words) as caught:
        passages(texts, candidate(digest, title="Tea" if text else "", text=text))
    assert caught.value.field == "candidates[0].content_digest"
    if len(digest) == 32:
        assert passages(texts, candidate(digest)) == [None]


def test_texts_that_come_by_digest_count_like_those_that_are_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = Texts(MIB)
    passages(texts, candidate(sha256("é" * 50), text="é" * 50))
    monkeypatch.setattr(rerank, "MAX_REQUEST_TEXT_BYTES", 150)
    read = CandidateList(texts)
    read.extend([candidate(sha256("é" * 50))])
    assert read.text_bytes == 100
    with pytest.raises(TooLargeError, match=r"at candidates\[0\]"):
        read.extend([Candidate(doc_id="b", content_digest=sha256("é" * 50))])


@given(st.lists(st.text(min_size=1, max_size=200).filter(str.strip), max_size=50))
def test_what_is_found_is_what_was_sent_and_memory_is_bounded(sent: list[str]) -> None:
    texts = Texts(2000)
    for text in sent:
        passages(texts, candidate(sha256(text), text=text))
        assert texts._passages.bytes <= 2000
    for text in sent:
        assert texts.find(sha256(text)) in (None, text)
    if sent:
        assert texts.find(sha256(sent[-1])) == sent[-1]
