"""Runs queries through the sidecar's own pipelines, in this process, for several sets of models.

    corpus, configuration, models -> `Systems.search` -> SystemRun, the rankings of every stage
    candidates -> `Systems.score` -> how one model alone scores them

Models and indexes are opened once and shared; what has been ranked is kept, so that a stage that
was cut short goes on. Nothing is added to what recall finds.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from sidecar.config import Config
from sidecar.errors import (
    CollectionNotFoundError,
    ModelError,
)
from sidecar.evaluation.beir import JudgedSet, read_corpus
from sidecar.evaluation.evaluate import STAGES, evaluation_config, run_queries, stage_name
from sidecar.evaluation.indexing import batches, corpus_analyzer
from sidecar.models.base import BiEncoder
from sidecar.models.contract import ModelContract
from sidecar.pipeline.search import SearchPipeline
from sidecar.pipeline.variant import Variant
from sidecar.recall.catalog import Catalog
from sidecar.recall.collection import Collection
from sidecar.rerank.reranker import Reranker
from sidecar.storage.files import digest_of
from sidecar.types import (
    Schema,
    Stage,
    TextField,
    to_passage,
)
from training.evaluation.asking import TRANSIENT, Recorder, scores_in_the_end
from training.evaluation.opened_models import OpenedModels, Tell
from training.evaluation.system_run import Scores, SystemRun, read_run, write_run
from training.models.production import Models

COLLECTION = "corpus"
BATCH_DOCUMENTS = 500
SEARCHABLE_TIMEOUT_SECONDS = 600.0
SCORE_BYTES = 512 * 1024 * 1024  # what production scored, the candidate need not score again
STAGE_OF = {
    "bi_encoder": Stage.DENSE,
    "first_reranker": Stage.FIRST_RERANK,
    "second_reranker": Stage.SECOND_RERANK,
}


class Systems:
    """A context manager. `folder` keeps indexes by model and revision, and choices of runtimes;
    `kept` rankings; `tell` is told how far it is."""

    def __init__(
        self, config: Config, corpus: Path, folder: Path, kept: Path, tell: Tell = lambda _: None
    ) -> None:
        """`corpus`: the folder of a corpus.jsonl."""
        cache = dataclasses.replace(config.cache, score_bytes=SCORE_BYTES)
        self._depth = config.recall.fused_depth
        self._config = evaluation_config(dataclasses.replace(config, cache=cache))
        self._corpus, self._folder, self._kept, self._tell = corpus, folder, kept, tell
        digest = digest_of(corpus / "corpus.jsonl")[:12]
        self._indexes = folder / f"corpus-{digest}"
        self._models = OpenedModels(self._config, folder, tell)
        self._collections: dict[Path, Collection] = {}
        self._stack = contextlib.ExitStack()
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        for folder in (self._folder, self._kept):
            folder.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(self._runner)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        self._models.close()

    def search(self, name: str, models: Models, role: str, judged: JudgedSet) -> SystemRun:
        """Every query end to end; scores are of the model of `role`.

        What was ranked under this name before is read instead. The first system that is searched
        chooses the runtimes, those after it run alike, as after an exchange in a sidecar. Raises
        ModelError.
        """
        path = self._kept / f"{name}.json"
        if path.exists():
            return read_run(path)
        variant = self._variant(name, models)
        ranked = self._runner.run(self._search(name, variant, models, role, judged))
        write_run(ranked, path)
        return ranked

    def score(
        self,
        name: str,
        role: str,
        model: str,
        queries: Mapping[str, str],
        candidates: Mapping[str, Sequence[str]],
        passages: Mapping[str, str],
    ) -> Scores:
        """How one model alone scores the candidates of each query; one that it cannot read is left
        out. Raises ModelError."""
        path = self._kept / f"{name}-alone.json"
        if path.exists():
            scores: Scores = json.loads(path.read_text(encoding="utf-8"))
            return scores
        shared = self._models.open(role, model)
        if role == "bi_encoder":
            scores = _by_cosine(shared.model, queries, candidates, passages)
        else:
            scores = self._runner.run(
                self._by_pairs(name, shared.model, queries, candidates, passages)
            )
        path.write_text(json.dumps(scores), encoding="utf-8")
        return scores

    def contract(self, role: str, model: str) -> ModelContract:
        """Of a model, which is opened for it if need be."""
        return self._models.contract(role, model)

    def index_folder(self, bi_encoder: str) -> Path:
        """The data folder that has the corpus as COLLECTION under this bi-encoder; indexed where
        missing. It is in use until the systems are closed."""
        self._collection(bi_encoder)
        return self._index_of(bi_encoder)

    def searcher(self, models: Models) -> tuple[SearchPipeline, Collection]:
        """The pipeline of these models, and the corpus as it searches it; both until the systems
        are closed. Raises ModelError."""
        return self._variant("searcher", models).search, self._collection(models.bi_encoder)

    def _variant(self, name: str, models: Models) -> Variant:
        variant = self._models.variant(name, models)
        self._stack.callback(variant.search.close)
        return variant

    def _index_of(self, bi_encoder: str) -> Path:
        if not bi_encoder:
            return self._indexes / "lexical"
        contract = self._models.contract("bi_encoder", bi_encoder)
        return self._indexes / f"{contract.name}-{contract.revision}".replace("/", "-")

    def _collection(self, bi_encoder: str) -> Collection:
        folder = self._index_of(bi_encoder)  # the same for a model that came in two folders
        if folder not in self._collections:
            model: BiEncoder | None = None
            if bi_encoder:
                model = self._models.open("bi_encoder", bi_encoder).model
            catalog = Catalog.open(folder, model, self._config)
            self._stack.callback(catalog.close)
            self._collections[folder] = self._indexed(catalog)
        return self._collections[folder]

    def _indexed(self, catalog: Catalog) -> Collection:
        """The corpus in a collection; what an earlier try has written is not encoded again."""
        try:
            collection = catalog.get(COLLECTION)
        except CollectionNotFoundError:
            analyzer = corpus_analyzer(self._corpus)
            schema = Schema((TextField("title", analyzer), TextField("text", analyzer)))
            collection = catalog.create(COLLECTION, schema)
        done = collection.stats().document_count
        rest = itertools.islice((each for _, each in read_corpus(self._corpus)), done, None)
        sequence = 0
        for batch in batches(rest, BATCH_DOCUMENTS):
            sequence, done = collection.upsert(batch).sequence, done + len(batch)
            self._tell(f"indexing: {done} documents")
        if sequence:
            collection.wait_searchable(sequence, SEARCHABLE_TIMEOUT_SECONDS)
        return collection

    async def _search(
        self, name: str, variant: Variant, models: Models, role: str, judged: JudgedSet
    ) -> SystemRun:
        recorder = Recorder(variant.search, STAGE_OF[role])
        collection, total = self._collection(models.bi_encoder), len(judged.queries)
        await variant.rerank.warm_up()  # the pace tells how long a batch may take
        done = itertools.count(1)
        runs = await run_queries(
            judged, collection, recorder, lambda: self._tell(f"{name}: {next(done)} of {total}")
        )
        rankings = {
            stage_name(stage): {q: one[: self._depth] for q, one in runs.rankings[stage].items()}
            for stage in STAGES
        }
        scores = {query_id: recorder.scores[text] for query_id, text in judged.queries.items()}
        missed = [
            f"{stage_name(stage)} {state.name.lower()} for {count} queries "
            f"({reason.name.lower().replace('_', ' ')})"
            for (stage, state, reason), count in sorted(runs.reports.items())
            if not reason.leaves_answer_whole
        ]
        if slow := sum(n for (_, _, reason), n in runs.reports.items() if reason in TRANSIENT):
            raise ModelError(f"{name}: no time for {slow} stages: the machine has too much to do")
        told = {stage_name(stage): model for stage, model in sorted(runs.models.items())}
        return SystemRun(rankings, scores, told, missed, runs.failed())

    async def _by_pairs(
        self,
        name: str,
        reranker: Reranker,
        queries: Mapping[str, str],
        candidates: Mapping[str, Sequence[str]],
        passages: Mapping[str, str],
    ) -> Scores:
        """Query after query: each fills the model's batches on its own."""
        scores: Scores = {}
        for number, (query_id, doc_ids) in enumerate(candidates.items(), start=1):
            texts = [passages.get(doc_id) for doc_id in doc_ids]
            found = await scores_in_the_end(reranker, queries[query_id], texts)
            scores[query_id] = {
                doc_id: pair.score
                for doc_id, pair in zip(doc_ids, found.pairs, strict=False)
                if pair.score is not None
            }
            self._tell(f"{name} alone: {number} of {len(candidates)}")
        return scores


def read_passages_of(corpus: Path, doc_ids: set[str]) -> dict[str, str]:
    """The passages of some documents of a corpus.jsonl, as models read them."""
    return {
        document.doc_id: to_passage(list(document.fields.values()))
        for _, document in read_corpus(corpus)
        if document.doc_id in doc_ids
    }


def _by_cosine(
    bi_encoder: BiEncoder,
    queries: Mapping[str, str],
    candidates: Mapping[str, Sequence[str]],
    passages: Mapping[str, str],
) -> Scores:
    wanted = {doc_id for doc_ids in candidates.values() for doc_id in doc_ids}
    doc_ids = [doc_id for doc_id in passages if doc_id in wanted]
    rows = {doc_id: row for row, doc_id in enumerate(doc_ids)}
    vectors = bi_encoder.encode_passages([passages[doc_id] for doc_id in doc_ids])
    asked = bi_encoder.encode_queries([queries[query_id] for query_id in candidates])
    scores: Scores = {}
    for vector, (query_id, found) in zip(asked, candidates.items(), strict=True):
        known = [doc_id for doc_id in found if doc_id in rows]
        cosines = vectors[[rows[doc_id] for doc_id in known]].astype(np.float64) @ vector
        scores[query_id] = dict(zip(known, cosines.tolist(), strict=True))
    return scores
