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
from sidecar.types import Candidate, RerankQuery, Stage, to_passage
from sidecar.v1 import rerank_pb2

LAST_STAGES = (Stage.INPUT, Stage.FUSED, Stage.FIRST_RERANK, Stage.SECOND_RERANK)


def to_rerank_query(message: rerank_pb2.RerankRequest) -> RerankQuery:
    """The candidate list of a request."""
    check_query("query", message.query)
    options = to_options(message.options, "options", LAST_STAGES)
    candidates = CandidateList()
    candidates.extend(message.candidates)
    return RerankQuery(message.query, candidates.close(), options, message.lexical_signal)


def to_started(message: rerank_pb2.SessionStart) -> RerankQuery:
    """The request that a session's `start` opens, without its candidates."""
    check_query("query", message.query)
    options = to_options(message.options, "options", LAST_STAGES)
    return RerankQuery(message.query, (), options, message.lexical_signal)


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
    """The candidates of one request, as they come in; the limits hold for all of them together."""

    def __init__(self) -> None:
        self.text_bytes = 0
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
        self._seen[message.doc_id] = len(self._candidates)
        passage = to_passage((message.title, message.text))
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
        self.text_bytes += title + text
        if self.text_bytes > MAX_REQUEST_TEXT_BYTES:
            raise TooLargeError(
                "candidates",
                f"have more than {MAX_REQUEST_TEXT_BYTES:,} bytes of text at {field}: split the"
                " list or shorten the texts",
            )

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
