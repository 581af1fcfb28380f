"""rerank.proto: candidate lists in, whole or in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration

from sidecar.errors import InvalidFieldError, TooLargeError
from sidecar.service.messages.checks import (
    MAX_CANDIDATES,
    MAX_ID_BYTES,
    MAX_REQUEST_TEXT_BYTES,
    MAX_TEXT_BYTES,
    byte_count,
    check_count,
    check_new,
    check_query,
    check_text,
)
from sidecar.service.messages.ranking import to_options
from sidecar.service.texts import DIGEST_BYTES, Texts, digest_of
from sidecar.types import Candidate, RerankQuery, Stage, to_passage
from sidecar.v1 import rerank_pb2

LAST_STAGES = (Stage.INPUT, Stage.FUSED, Stage.FIRST_RERANK, Stage.SECOND_RERANK)


def to_rerank_query(message: rerank_pb2.RerankRequest, texts: Texts, caller: str) -> RerankQuery:
    """The candidate list of a caller's request; what came by digest is looked up in `texts`."""
    check_query("query", message.query)
    options = to_options(message.options, "options", LAST_STAGES)
    candidates = CandidateList(texts)
    candidates.extend(message.candidates)
    return RerankQuery(message.query, candidates.close(), options, message.lexical_signal, caller)


def to_started(message: rerank_pb2.SessionStart, caller: str) -> RerankQuery:
    """The request that a session's `start` opens, without its candidates."""
    check_query("query", message.query)
    options = to_options(message.options, "options", LAST_STAGES)
    return RerankQuery(message.query, (), options, message.lexical_signal, caller)


def to_timeout_seconds(message: rerank_pb2.SessionStart) -> float | None:
    """The timeout of a session's `start` in seconds; None if it set none."""
    if not message.HasField("timeout"):
        return None
    seconds = message.timeout.seconds + message.timeout.nanos / 1e9
    if seconds <= 0.0:
        raise InvalidFieldError("timeout", f"is {seconds} seconds: give a positive time")
    return seconds


def to_duration(seconds: float) -> Duration:
    """A non-negative time in seconds as a message."""
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


class CandidateList:
    """The candidates of one request, as they come in; the limits hold for all of them together.

    Texts that come by digest count like those that are sent.
    """

    def __init__(self, texts: Texts) -> None:
        self.text_bytes = 0
        self._texts = texts
        self._candidates: list[Candidate] = []
        self._seen: dict[str, int] = {}

    def extend(self, messages: Iterable[rerank_pb2.Candidate]) -> None:
        """Adds one chunk. Raises InvalidFieldError with the path within the chunk."""
        for index, message in enumerate(messages):
            self._append(message, f"candidates[{index}]")

    def close(self) -> tuple[Candidate, ...]:
        """All of them. Raises InvalidFieldError if there is none."""
        check_count("candidates", len(self._candidates), MAX_CANDIDATES, "candidates")
        return tuple(self._candidates)

    def _append(self, message: rerank_pb2.Candidate, field: str) -> None:
        check_count("candidates", len(self._candidates) + 1, MAX_CANDIDATES, "candidates")
        check_text(f"{field}.doc_id", message.doc_id, MAX_ID_BYTES)
        check_new(f"{field}.doc_id", message.doc_id, self._seen, "candidates")
        self._check_size(message, field)
        score = self._to_score(message, f"{field}.score")
        passage = self._to_passage(message, field)
        self._seen[message.doc_id] = len(self._candidates)
        self._candidates.append(Candidate(message.doc_id, passage, score))

    def _check_size(self, message: rerank_pb2.Candidate, field: str) -> None:
        title, text = byte_count(message.title), byte_count(message.text)
        if title + text > MAX_TEXT_BYTES:
            larger = "title" if title > text else "text"
            raise TooLargeError(
                f"{field}.{larger}",
                f"makes title and text {title + text:,} bytes; at most {MAX_TEXT_BYTES:,} are"
                " accepted",
            )
        self._add_bytes(title + text, field)

    def _add_bytes(self, count: int, field: str) -> None:
        self.text_bytes += count
        if self.text_bytes > MAX_REQUEST_TEXT_BYTES:
            raise TooLargeError(
                "candidates",
                f"have more than {MAX_REQUEST_TEXT_BYTES:,} bytes of text at {field}: split the"
                " list or shorten the texts",
            )

    def _to_passage(self, message: rerank_pb2.Candidate, field: str) -> str | None:
        """What the models read; None if only its digest came and the text is not here."""
        passage, digest = to_passage((message.title, message.text)), message.content_digest
        if not digest:
            return passage
        if len(digest) != DIGEST_BYTES:
            raise InvalidFieldError(
                f"{field}.content_digest",
                f"has {len(digest)} bytes: a SHA-256 has {DIGEST_BYTES}; leave it out if in doubt",
            )
        if passage:
            self._keep(passage, digest, f"{field}.content_digest")
            return passage
        found = self._texts.find(digest)
        self._add_bytes(byte_count(found or ""), field)
        return found

    def _keep(self, passage: str, digest: bytes, field: str) -> None:
        if digest_of(passage) != digest:
            raise InvalidFieldError(
                field,
                "is not the SHA-256 of title, newline, text (of the one alone where the other is"
                " blank): correct it, or leave it out",
            )
        self._texts.keep(digest, passage)

    def _to_score(self, message: rerank_pb2.Candidate, field: str) -> float | None:
        score = message.score if message.HasField("score") else None
        if score is not None and not math.isfinite(score):
            raise InvalidFieldError(field, f"is {score}: give a finite score")
        if self._candidates and (score is None) != (self._candidates[0].score is None):
            state = "is absent" if score is None else "is set"
            raise InvalidFieldError(
                field, f"{state}, unlike the first candidate's: send it for all or for none"
            )
        return score
