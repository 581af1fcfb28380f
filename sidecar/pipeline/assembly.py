"""Makes the pipelines of a configuration: models -> rerankers that share this machine's cores ->
pipelines that share one admission.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from sidecar.config import Config
from sidecar.models.base import BiEncoder, CrossEncoder
from sidecar.models.load import close_model, load_bi_encoder, load_cross_encoder
from sidecar.models.token_cache import TokenCache
from sidecar.models.vllm.supervisor import supervised
from sidecar.pipeline.admission import Admission
from sidecar.pipeline.rerank import RerankPipeline
from sidecar.pipeline.search import SearchPipeline
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.reranker import Reranker
from sidecar.rerank.score_cache import ScoreCache
from sidecar.types import Stage


@dataclass(frozen=True, slots=True)
class Pipelines:
    """What serves requests, and the bi-encoder for those who write documents."""

    bi_encoder: BiEncoder | None
    search: SearchPipeline
    rerank: RerankPipeline


def open_pipelines(config: Config, data_dir: Path, resources: contextlib.ExitStack) -> Pipelines:
    """Loads the models; what has to be closed is given to `resources`. Raises ModelError."""
    config = resources.enter_context(supervised(config))
    bi_encoder = load_bi_encoder(config.bi_encoder, config.runtime, data_dir, config.vllm)
    resources.callback(close_model, bi_encoder)
    tokens = TokenCache(config.cache.token_bytes)
    encoders = {
        stage: load_cross_encoder(section, config.runtime, data_dir, tokens, config.vllm)
        for stage, section in (
            (Stage.FIRST_RERANK, config.first_reranker),
            (Stage.SECOND_RERANK, config.second_reranker),
        )
    }
    for encoder in encoders.values():
        resources.callback(close_model, encoder)
    rerankers = open_rerankers(config, encoders, resources)
    first, second = rerankers[Stage.FIRST_RERANK], rerankers[Stage.SECOND_RERANK]
    admission = Admission(config.admission)
    search = SearchPipeline(bi_encoder, first, second, config, admission)
    resources.callback(search.close)
    return Pipelines(bi_encoder, search, RerankPipeline(first, second, config, admission))


def open_rerankers(
    config: Config,
    encoders: dict[Stage, CrossEncoder | None],
    resources: contextlib.ExitStack,
) -> dict[Stage, Reranker | None]:
    """A reranker for each cross-encoder. Those that compute here share the cores, so that they do
    not take them from one another; those that are served elsewhere have lanes of their own."""
    feeds = [encoder.feed for encoder in encoders.values() if encoder is not None]
    here = Lanes(max((feed.side_by_side for feed in feeds if feed.shares_cores), default=1))
    cache = ScoreCache(config.cache.score_bytes)
    sections = {
        Stage.FIRST_RERANK: config.first_reranker,
        Stage.SECOND_RERANK: config.second_reranker,
    }
    rerankers: dict[Stage, Reranker | None] = {}
    for stage, encoder in encoders.items():
        rerankers[stage] = None
        if encoder is not None:
            lanes = here if encoder.feed.shares_cores else Lanes(encoder.feed.side_by_side)
            reranker = Reranker(
                stage, encoder, sections[stage], lanes=lanes, planner=config.planner, cache=cache
            )
            resources.callback(reranker.close)
            rerankers[stage] = reranker
    return rerankers
