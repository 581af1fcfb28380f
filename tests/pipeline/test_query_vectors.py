"""Query vectors: encoded once, by revision and text, and only where the request allows it."""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from fakes import BI_ENCODER_CONTRACT, FakeBiEncoder

from sidecar.errors import ModelError
from sidecar.models.base import Vectors
from sidecar.pipeline.query_vectors import QueryVectors


class CountingEncoder(FakeBiEncoder):
    """Counts the texts; waits for `release` if there is one; raises `failure` if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[str] = []
        self.release: threading.Event | None = None
        self.entered = threading.Event()
        self.failure: Exception | None = None

    def encode_queries(self, texts: list[str]) -> Vectors:
        self.encoded += texts
        self.entered.set()
        if self.release is not None:
            self.release.wait()
        if self.failure is not None:
            raise self.failure
        return super().encode_queries(texts)


def test_a_query_is_encoded_once():
    encoder = CountingEncoder()
    vectors = QueryVectors(encoder, 100_000)
    first, second = vectors.vector_of("red shoes"), vectors.vector_of("red shoes")
    assert encoder.encoded == ["red shoes"]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, FakeBiEncoder().encode_queries(["red shoes"])[0])


def test_another_revision_is_another_vector():
    encoder = CountingEncoder()
    vectors = QueryVectors(encoder, 100_000)
    vectors.vector_of("red shoes")
    encoder.contract = dataclasses.replace(BI_ENCODER_CONTRACT, revision="fake-2")
    vectors.vector_of("red shoes")
    assert len(encoder.encoded) == 2


def test_a_request_may_go_past_the_cache():
    encoder = CountingEncoder()
    vectors = QueryVectors(encoder, 100_000)
    vectors.vector_of("red shoes", use_cache=False)
    vectors.vector_of("red shoes", use_cache=False)
    vectors.vector_of("red shoes")
    assert len(encoder.encoded) == 3


def test_no_more_bytes_are_kept_than_allowed():
    encoder = CountingEncoder()
    vectors = QueryVectors(encoder, 1000)
    for text in ("one", "two", "three", "four", "one"):
        vectors.vector_of(text)
    assert encoder.encoded == ["one", "two", "three", "four", "one"]


def test_equal_queries_at_the_same_time_are_encoded_once():
    encoder = CountingEncoder()
    encoder.release = threading.Event()
    vectors = QueryVectors(encoder, 100_000)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(vectors.vector_of, "red shoes") for _ in range(4)]
        encoder.entered.wait()
        encoder.release.set()
        answers = [one.result() for one in asked]
    assert encoder.encoded == ["red shoes"]
    assert all((one == answers[0]).all() for one in answers)


def test_a_failure_is_told_to_all_and_not_kept():
    encoder = CountingEncoder()
    encoder.failure = ModelError("it broke")
    vectors = QueryVectors(encoder, 100_000)
    with pytest.raises(ModelError):
        vectors.vector_of("red shoes")
    encoder.failure = None
    assert vectors.vector_of("red shoes").shape == (64,)
