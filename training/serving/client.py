"""Asks a running sidecar: what it recalls, ranks and scores, and what its documents say.

Nothing that is asked here is logged as an impression, explored with, or answered by a canary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from sidecar.commands.upload import upload
from sidecar.errors import ModelError
from sidecar.types import to_passage
from sidecar.v1 import (
    collection_pb2,
    collection_pb2_grpc,
    document_pb2,
    document_pb2_grpc,
    ranking_pb2,
    rerank_pb2,
    rerank_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)
from training.serving.calls import open_channel, told_in_words, until_taken

DOCUMENTS_AT_ONCE = 25  # of 1 MiB at most each: an answer is below the server's limit, 32 MiB
_LEGS = ranking_pb2.STAGE_LEXICAL, ranking_pb2.STAGE_DENSE
_STAGES = {
    "first_reranker": ranking_pb2.STAGE_FIRST_RERANK,
    "second_reranker": ranking_pb2.STAGE_SECOND_RERANK,
}


@dataclass(frozen=True, slots=True)
class RecallHit:
    """A document as recall ranks it: `rank` from 1 and `score` after fusion, and the scores of the
    legs (BM25, cosine) that found it, None of one that did not."""

    doc_id: str
    rank: int
    score: float
    lexical: float | None = None
    dense: float | None = None


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A document as a whole search ranks it."""

    doc_id: str
    rank: int
    score: float


class SidecarClient:
    """A collection of the sidecar on HOST:PORT. Thread safe; a context manager that hangs up.

    A sidecar that is full or starts is asked again. Methods raise RefusedError for a mistake of the
    caller's, SidecarError for a sidecar that is not there or fails.
    """

    def __init__(
        self,
        address: str,
        collection: str = "",
        timeout_seconds: float = 60.0,
        calls_at_once: int = 8,
    ) -> None:
        self.address = address
        self.collection = collection
        self._timeout = timeout_seconds
        self._calls_at_once = calls_at_once
        self._channel = open_channel(address)
        self._search = search_pb2_grpc.SearchServiceStub(self._channel)
        self._rerank = rerank_pb2_grpc.RerankServiceStub(self._channel)
        self._documents = document_pb2_grpc.DocumentServiceStub(self._channel)
        self._collections = collection_pb2_grpc.CollectionServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up."""
        self._channel.close()

    # Searches

    def recall(self, queries: Sequence[str], depth: int) -> dict[str, list[RecallHit]]:
        """The `depth` (1 to 1,000) best documents of each query after fusion, best first.

        Raises ModelError where a leg failed: half a recall would be taken for the whole.
        """
        with told_in_words(self.address), ThreadPoolExecutor(self._calls_at_once) as threads:
            found = threads.map(lambda query: self._recall(query, depth), queries)
            return dict(zip(queries, found, strict=True))

    def search(self, query: str, top_k: int = 10, use_cache: bool = True) -> list[SearchHit]:
        """What a user would be shown, best first, degraded or not."""
        options = ranking_pb2.RankingOptions(top_k=top_k, unlogged=True)
        if not use_cache:
            options.cache = ranking_pb2.CACHE_POLICY_BYPASS
        with told_in_words(self.address):
            hits = self._ask(query, options).hits
        return [SearchHit(hit.doc_id, hit.rank, hit.score) for hit in hits]

    def rerank(
        self, query: str, passages: Mapping[str, str], stage: str = "second_reranker"
    ) -> dict[str, float]:
        """The logits of 1 to 1,000 passages by one reranker, computed anew; by id, best first.

        Raises ModelError where it did not score them all.
        """
        request = rerank_pb2.RerankRequest(
            query=query,
            candidates=[
                rerank_pb2.Candidate(doc_id=doc_id, text=passage)
                for doc_id, passage in passages.items()
            ],
            options=_options_of_stage(stage, len(passages)),
        )
        with told_in_words(self.address):
            response = until_taken(lambda: self._rerank.Rerank(request, timeout=self._timeout))
        scores = {hit.doc_id: hit.logit for hit in response.ranking.hits if hit.HasField("logit")}
        if len(scores) < len(passages):
            reasons = "; ".join(each.detail for each in response.ranking.stages if each.detail)
            raise ModelError(
                f"the {stage} of {self.address} scored {len(scores)} of {len(passages)} passages: "
                f"{reasons or 'some of them are empty'}"
            )
        return scores

    # Documents

    def documents(self, doc_ids: Sequence[str]) -> Iterator[dict[str, str]]:
        """Rows {"_id", "title", "text"} of those that are stored, in the order asked, whose passage
        is the one that the sidecar's models read: "title" is the first text field, if there are
        several, "text" the others."""
        for start in range(0, len(doc_ids), DOCUMENTS_AT_ONCE):
            asked = doc_ids[start : start + DOCUMENTS_AT_ONCE]
            with told_in_words(self.address):
                found = self._documents_of(asked)
            yield from (self._to_row(document) for document in found)

    def index(self, rows: Iterable[Mapping[str, Any]], analyzer: str = "english") -> int:
        """Makes the collection and writes rows {"_id", "title", "text"}; how many. Returns once all
        are searchable."""
        name = f"ANALYZER_{analyzer.upper()}"
        fields = [collection_pb2.TextField(name=one, analyzer=name) for one in ("title", "text")]
        create = collection_pb2.CreateCollectionRequest(
            name=self.collection, schema=collection_pb2.Schema(text_fields=fields)
        )
        documents = ((_to_document(row), str(row["_id"])) for row in rows)
        with told_in_words(self.address):
            self._collections.CreateCollection(create, timeout=self._timeout)
            done = upload(self._documents, self.collection, documents)
            return sum(acknowledged.documents for acknowledged in done)

    @cached_property
    def _text_fields(self) -> list[str]:
        request = collection_pb2.DescribeCollectionRequest(name=self.collection)
        with told_in_words(self.address):
            found = self._collections.DescribeCollection(request, timeout=self._timeout)
        return [field.name for field in found.collection.schema.text_fields]

    def _documents_of(self, doc_ids: Sequence[str]) -> Iterable[document_pb2.Document]:
        request = document_pb2.GetDocumentsRequest(collection=self.collection, doc_ids=doc_ids)
        response = until_taken(lambda: self._documents.GetDocuments(request, timeout=self._timeout))
        found: Iterable[document_pb2.Document] = response.documents
        return found

    def _to_row(self, document: document_pb2.Document) -> dict[str, str]:
        texts = [document.fields.get(name, "") for name in self._text_fields]
        title, *others = texts if len(texts) > 1 else ["", *texts]
        return {"_id": document.doc_id, "title": title, "text": to_passage(others)}

    def _recall(self, query: str, depth: int) -> list[RecallHit]:
        options = ranking_pb2.RankingOptions(
            top_k=depth,
            last_stage=ranking_pb2.STAGE_FUSED,
            explain=True,
            request_class=ranking_pb2.REQUEST_CLASS_OFFLINE,
            unlogged=True,
        )
        ranking = self._ask(query, options)
        for report in ranking.stages:
            if report.stage in _LEGS and report.state == ranking_pb2.STAGE_STATE_FAILED:
                raise ModelError(
                    f"recall of {self.address} is not whole: {report.detail}; mend it, then run "
                    "this again"
                )
        return [_to_recall_hit(hit) for hit in ranking.hits]

    def _ask(self, query: str, options: ranking_pb2.RankingOptions) -> ranking_pb2.Ranking:
        request = search_pb2.SearchRequest(collection=self.collection, query=query, options=options)
        response = until_taken(lambda: self._search.Search(request, timeout=self._timeout))
        ranking: ranking_pb2.Ranking = response.ranking
        return ranking


def _options_of_stage(stage: str, depth: int) -> ranking_pb2.RankingOptions:
    """Only this reranker, over the whole list."""
    options = ranking_pb2.RankingOptions(
        top_k=depth,
        last_stage=_STAGES[stage],
        first_rerank_depth=depth,
        second_rerank_depth=depth,
        request_class=ranking_pb2.REQUEST_CLASS_OFFLINE,
        cache=ranking_pb2.CACHE_POLICY_BYPASS,
        unlogged=True,
    )
    if stage == "second_reranker":
        options.first_rerank_depth = 0
    return options


def _to_recall_hit(hit: ranking_pb2.Hit) -> RecallHit:
    scores = {each.stage: each.score for each in hit.explanation}
    lexical, dense = (scores.get(leg) for leg in _LEGS)
    return RecallHit(hit.doc_id, hit.rank, hit.score, lexical, dense)


def _to_document(row: Mapping[str, Any]) -> document_pb2.Document:
    fields = {name: str(row.get(name) or "") for name in ("title", "text")}
    return document_pb2.Document(doc_id=str(row["_id"]), fields=fields)
