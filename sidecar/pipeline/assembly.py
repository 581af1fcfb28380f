"""Makes variants: models of a configuration -> rerankers that share this machine's cores ->
pipelines that share one admission.

What all variants have in common (cores, caches, admission) belongs to the `Workshop`, which also
opens the models that come while others serve.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from dataclasses import dataclass
from pathlib import Path

from sidecar.config import BiEncoderConfig, Config, RerankerConfig
from sidecar.errors import ConfigurationError
from sidecar.models.base import BiEncoder, CrossEncoder
from sidecar.models.contract import ModelContract
from sidecar.models.load import close_model, load_bi_encoder, load_cross_encoder
from sidecar.models.token_cache import TokenCache
from sidecar.models.vllm.supervisor import supervised
from sidecar.pipeline.admission import Admission
from sidecar.pipeline.query_vectors import QueryVectors
from sidecar.pipeline.rerank import RerankPipeline
from sidecar.pipeline.search import SearchPipeline
from sidecar.pipeline.serving import Serving
from sidecar.pipeline.variant import CONFIGURED, PRODUCTION, ModelSet, Origin, Shared, Variant
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.reranker import Reranker
from sidecar.rerank.score_cache import ScoreCache
from sidecar.storage.registry import Registry, open_registry
from sidecar.types import Stage

REGISTRY_PREFIX = "registry:"
ROLES = ("bi_encoder", "first_reranker", "second_reranker")
STAGES = {"first_reranker": Stage.FIRST_RERANK, "second_reranker": Stage.SECOND_RERANK}


class Workshop:
    """Opens models and makes variants of them."""

    def __init__(self, config: Config, data_dir: Path, registry: Registry | None = None) -> None:
        self.config = config
        self.registry = registry
        self._data_dir = data_dir
        self._lanes = Lanes(1)
        self._tokens = TokenCache(config.cache.token_bytes)
        self._scores = ScoreCache(config.cache.score_bytes)
        self._admission = Admission(config.admission)
        self._vectors: weakref.WeakValueDictionary[int, QueryVectors] = (
            weakref.WeakValueDictionary()
        )

    def open_configured(self) -> ModelSet:
        """The models of the configuration. Blocks. Raises ModelError, ModelNotFoundError."""
        with contextlib.ExitStack() as opened:
            bi_encoder = self.open_bi_encoder(*self._resolve("bi_encoder"))
            opened.callback(_release_unused, bi_encoder)
            first = self.open_reranker("first_reranker", *self._resolve("first_reranker"))
            opened.callback(_release_unused, first)
            second = self.open_reranker("second_reranker", *self._resolve("second_reranker"))
            opened.pop_all()
        return ModelSet(bi_encoder, first, second)

    def open_bi_encoder(
        self, model: str, origin: Origin, like: ModelContract | None = None
    ) -> Shared[BiEncoder] | None:
        """The bi-encoder in a folder or of a name, None for "".

        `like`: that of the one whose place it is to take. Blocks. Raises ModelError.
        """
        config = self.config
        section: BiEncoderConfig = dataclasses.replace(config.bi_encoder, model=model)
        encoder = load_bi_encoder(section, config.runtime, self._data_dir, config.vllm, like)
        return None if encoder is None else Shared(encoder, origin, close_model)

    def open_cross_encoder(
        self, role: str, model: str, like: ModelContract | None = None
    ) -> CrossEncoder | None:
        """The cross-encoder of a role ("first_reranker", "second_reranker"), likewise."""
        config = self.config
        section: RerankerConfig = dataclasses.replace(getattr(config, role), model=model)
        return load_cross_encoder(
            section, config.runtime, self._data_dir, self._tokens, config.vllm, like
        )

    def open_reranker(self, role: str, model: str, origin: Origin) -> Shared[Reranker] | None:
        """The reranker of a role, likewise."""
        encoder = self.open_cross_encoder(role, model)
        return None if encoder is None else self.reranker_of(role, encoder, origin)

    def reranker_of(
        self, role: str, encoder: CrossEncoder, origin: Origin = CONFIGURED
    ) -> Shared[Reranker]:
        """A reranker over a loaded cross-encoder. Those that compute here share the cores, so that
        they do not take them from one another; those served elsewhere have lanes of their own."""
        feed = encoder.feed
        if feed.shares_cores:
            self._lanes.widen(feed.side_by_side)
        reranker = Reranker(
            STAGES[role],
            encoder,
            getattr(self.config, role),
            lanes=self._lanes if feed.shares_cores else Lanes(feed.side_by_side),
            planner=self.config.planner,
            cache=self._scores,
        )

        return Shared(reranker, origin, lambda _: close_model(encoder), Reranker.close)

    def variant(self, name: str, models: ModelSet) -> Variant:
        """A variant that answers by these models."""
        bi_encoder = models.bi_encoder.model if models.bi_encoder else None
        first = models.first_reranker.model if models.first_reranker else None
        second = models.second_reranker.model if models.second_reranker else None
        search = SearchPipeline(
            bi_encoder, first, second, self.config, self._admission, self._vectors_of(bi_encoder)
        )
        rerank = RerankPipeline(first, second, self.config, self._admission)
        return Variant(name, models, search, rerank)

    def _vectors_of(self, bi_encoder: BiEncoder | None) -> QueryVectors | None:
        """The kept vectors of queries, the same for all variants that have this bi-encoder."""
        if bi_encoder is None:
            return None
        kept = self._vectors.get(id(bi_encoder))  # it lives as long as what is found here
        if kept is None:
            kept = QueryVectors(bi_encoder, self.config.cache.vector_bytes)
            self._vectors[id(bi_encoder)] = kept
        return kept

    def _resolve(self, role: str) -> tuple[str, Origin]:
        """What the configuration names for a role: of the registry, the production version."""
        model: str = getattr(self.config, role).model
        if not model.startswith(REGISTRY_PREFIX):
            return model, CONFIGURED
        name = model.removeprefix(REGISTRY_PREFIX)
        if self.registry is None:
            raise ConfigurationError(f"{role}.model is {model!r}: give registry.url, too")
        roles = [each for each in ROLES if getattr(self.config, each).model == model]
        if len(roles) > 1:
            raise ConfigurationError(
                f"{model!r} is the model of {' and '.join(roles)}: publish it under a name for each"
            )
        fetched = self.registry.fetch(name, PRODUCTION)
        return str(fetched.folder), Origin(name, fetched.version)


@dataclass(frozen=True, slots=True)
class Assembled:
    """What serves requests, the bi-encoder for those who write documents, and the workshop for
    those who exchange models."""

    bi_encoder: BiEncoder | None
    serving: Serving
    workshop: Workshop


def assemble(config: Config, data_dir: Path, resources: contextlib.ExitStack) -> Assembled:
    """Loads the models; what has to be closed is given to `resources`.

    Raises ModelError, ConfigurationError.
    """
    config = resources.enter_context(supervised(config))
    registry = open_registry(config.registry, data_dir) if config.registry.url else None
    workshop = Workshop(config, data_dir, registry)
    models = workshop.open_configured()
    share = config.feedback.exploration_share if config.feedback.enabled else 0.0
    serving = Serving(workshop.variant(PRODUCTION, models), share)
    resources.callback(serving.close)
    return Assembled(models.bi_encoder.model if models.bi_encoder else None, serving, workshop)


def _release_unused(model: Shared[BiEncoder] | Shared[Reranker] | None) -> None:
    if model is not None and model.release():
        model.close()
