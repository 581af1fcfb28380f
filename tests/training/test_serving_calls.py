"""What the client asks of a sidecar that is full, and of one whose recall is not whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from sidecar.errors import ModelError, SidecarError
from sidecar.v1 import ranking_pb2, search_pb2, search_pb2_grpc
from training.serving.client import RecallHit, SidecarClient

HIT = ranking_pb2.Hit(
    doc_id="a",
    rank=1,
    score=0.5,
    explanation=[
        ranking_pb2.StageScore(stage=ranking_pb2.STAGE_DENSE, rank=1, score=0.75),
        ranking_pb2.StageScore(stage=ranking_pb2.STAGE_FUSED, rank=1, score=0.5),
    ],
)
WHOLE = search_pb2.SearchResponse(ranking=ranking_pb2.Ranking(hits=[HIT]))


def full(*retry_seconds: float) -> status_pb2.Status:
    """The status of a sidecar that is full, which says when to come again, or does not."""
    details = []
    for seconds in retry_seconds:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(round(seconds * 1000))
        details.append(any_pb2.Any())
        details[-1].Pack(retry)
    code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    return status_pb2.Status(code=code, message="the server is full", details=details)


class Search(search_pb2_grpc.SearchServiceServicer):
    """Gives these answers, one after another, and keeps what it was asked."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self.asked: list[search_pb2.SearchRequest] = []
        self._answers = iter(answers)

    def Search(self, request: search_pb2.SearchRequest, context: Any) -> Any:
        """As SearchService."""
        self.asked.append(request)
        answer = next(self._answers)
        if isinstance(answer, status_pb2.Status):
            context.abort_with_status(rpc_status.to_status(answer))
        return answer


@contextlib.contextmanager
def answering(*answers: Any) -> Iterator[tuple[SidecarClient, Search]]:
    service = Search(answers)
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads)
        search_pb2_grpc.add_SearchServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with SidecarClient(f"127.0.0.1:{port}", "things") as client:
                yield client, service
        finally:
            server.stop(None).wait()


def test_a_sidecar_that_is_full_is_asked_again_when_it_says() -> None:
    with answering(full(0.01), full(0.02), WHOLE) as (client, service):
        found = client.recall(["tea"], 7)
    assert found == {"tea": [RecallHit("a", 1, 0.5, None, 0.75)]}
    assert len(service.asked) == 3
    options = service.asked[-1].options
    assert (options.top_k, options.last_stage) == (7, ranking_pb2.STAGE_FUSED)
    assert options.request_class == ranking_pb2.REQUEST_CLASS_OFFLINE
    assert options.unlogged
    assert options.explain


def test_a_refusal_without_a_time_is_told() -> None:
    with answering(full()) as (client, _), pytest.raises(SidecarError, match="is full"):
        client.recall(["tea"], 7)


def test_half_a_recall_is_none() -> None:
    failed = ranking_pb2.StageReport(
        stage=ranking_pb2.STAGE_DENSE,
        state=ranking_pb2.STAGE_STATE_FAILED,
        detail="the bi-encoder is down",
    )
    half = search_pb2.SearchResponse(ranking=ranking_pb2.Ranking(hits=[HIT], stages=[failed]))
    with answering(half) as (client, _), pytest.raises(ModelError, match="bi-encoder is down"):
        client.recall(["tea"], 7)
    skipped = ranking_pb2.StageReport(
        stage=ranking_pb2.STAGE_LEXICAL, state=ranking_pb2.STAGE_STATE_SKIPPED
    )
    one_leg = search_pb2.SearchResponse(ranking=ranking_pb2.Ranking(hits=[HIT], stages=[skipped]))
    with answering(one_leg) as (client, _):
        assert len(client.recall(["tea"], 7)["tea"]) == 1
