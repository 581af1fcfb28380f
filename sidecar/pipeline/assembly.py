"""Makes variants: models of a configuration -> rerankers that share this machine's cores ->
pipelines that share one admission.

What all variants have in common (cores, caches, admission) belongs to the `Workshop`, which also
opens the models that come while others serve.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sidecar.config import BiEncoderConfig, Config, RerankerConfig
from sidecar.errors import ModelRefusedError
from sidecar.models.base import BiEncoder, CrossEncoder
from sidecar.models.contract import ModelContract
from sidecar.models.load import close_model, load_bi_encoder, load_cross_encoder
from sidecar.models.token_cache import TokenCache
from sidecar.models.vllm.adapter import base_of, is_adapter
from sidecar.models.vllm.servers import OwnServers, own_servers
from sidecar.pipeline.admission import Admission
from sidecar.pipeline.query_vectors import QueryVectors
from sidecar.pipeline.rerank import RerankPipeline
from sidecar.pipeline.resolution import ROLES, configured_registry, resolve_models
from sidecar.pipeline.search import SearchPipeline
from sidecar.pipeline.serving import Serving
from sidecar.pipeline.variant import CONFIGURED, PRODUCTION, ModelSet, Origin, Shared, Variant
from sidecar.rerank.lanes import Lanes
from sidecar.rerank.reranker import Reranker
from sidecar.rerank.score_cache import ScoreCache
from sidecar.storage.registry import Registry
from sidecar.types import Stage

NO_ORIGINS: Mapping[str, Origin] = {}
Section = TypeVar("Section", BiEncoderConfig, RerankerConfig)
STAGES = {"first_reranker": Stage.FIRST_RERANK, "second_reranker": Stage.SECOND_RERANK}


class Workshop:
    """Opens models and makes variants of them."""

    def __init__(
        self,
        config: Config,
        data_dir: Path,
        registry: Registry | None = None,
        origins: Mapping[str, Origin] = NO_ORIGINS,
        servers: OwnServers | None = None,
    ) -> None:
        """`origins`: where the configured models are from, by role. `servers`: those that were
        started for this configuration."""
        self.config = config
        self.registry = registry
        self._origins = origins
        self._servers = servers or OwnServers(config)
        # Revisions and addresses, by the id of an encoder that is open: what vLLM serves.
        self._places: dict[int, tuple[str, str]] = {}
        self._data_dir = data_dir
        self._lanes = Lanes(1)
        self._tokens = TokenCache(config.cache.token_bytes)
        self._scores = ScoreCache(config.cache.score_bytes)
        self._admission = Admission(config.admission)
        self._vectors: weakref.WeakValueDictionary[int, QueryVectors] = (
            weakref.WeakValueDictionary()
        )

    def open_configured(self) -> ModelSet:
        """The models of the configuration. Blocks. Raises ModelError."""
        models = [getattr(self.config, role).model for role in ROLES]
        origins = [self._origins.get(role, CONFIGURED) for role in ROLES]
        with contextlib.ExitStack() as opened:
            bi_encoder = self.open_bi_encoder(models[0], origins[0])
            opened.callback(_release_unused, bi_encoder)
            first = self.open_reranker(ROLES[1], models[1], origins[1])
            opened.callback(_release_unused, first)
            second = self.open_reranker(ROLES[2], models[2], origins[2])
            opened.pop_all()
        return ModelSet(bi_encoder, first, second)

    def open_bi_encoder(
        self, model: str, origin: Origin, like: ModelContract | None = None
    ) -> Shared[BiEncoder] | None:
        """The bi-encoder in a folder or of a name, None for "".

        `like`: that of the one whose place it is to take. Blocks. Raises ModelError.
        """
        section: BiEncoderConfig = dataclasses.replace(self.config.bi_encoder, model=model)
        with self._served(section, "bi_encoder", like) as served:
            encoder = load_bi_encoder(
                served, self.config.runtime, self._data_dir, self.config.vllm, like
            )
        if encoder is None:
            return None
        self._note_place(encoder, served.vllm_urls)
        return Shared(encoder, origin, self._close)

    def open_cross_encoder(
        self, role: str, model: str, like: ModelContract | None = None
    ) -> CrossEncoder | None:
        """The cross-encoder of a role ("first_reranker", "second_reranker"), likewise."""
        section: RerankerConfig = dataclasses.replace(getattr(self.config, role), model=model)
        with self._served(section, role, like) as served:
            encoder = load_cross_encoder(
                served, self.config.runtime, self._data_dir, self._tokens, self.config.vllm, like
            )
        if encoder is not None:
            self._note_place(encoder, served.vllm_urls)
        return encoder

    def open_reranker(self, role: str, model: str, origin: Origin) -> Shared[Reranker] | None:
        """The reranker of a role, likewise."""
        encoder = self.open_cross_encoder(role, model)
        return None if encoder is None else self.reranker_of(role, encoder, origin)

    @contextlib.contextmanager
    def _served(self, section: Section, role: str, like: ModelContract | None) -> Iterator[Section]:
        """The section with the address of the vLLM servers that its model has, if it is served so.

        Of a model that is to take the place of another, an adapter goes to the servers of its base;
        anything else gets a server of its own, which ends with an error inside. Raises
        ModelRefusedError where neither can be.
        """
        if not section.vllm_urls or like is None:
            yield section
        elif is_adapter(Path(section.model)):
            yield dataclasses.replace(section, vllm_urls=self._place_of_base(section.model, role))
        elif self._servers.serve(role):
            url = self._servers.start_beside(role, section.model)
            with contextlib.ExitStack() as failing:
                failing.callback(self._servers.stop, url)
                yield dataclasses.replace(section, vllm_urls=url)
                failing.pop_all()
        else:
            raise ModelRefusedError(
                f"{like.name} is served at {section.vllm_urls}, by servers that are not this "
                "sidecar's, and this is no adapter that they could load: start servers of it and "
                "configure their addresses, or let the sidecar start them (vllm.start)"
            )

    def _place_of_base(self, folder: str, role: str) -> str:
        """The servers of the model that an adapter was made for."""
        base = base_of(Path(folder))
        for revision, urls in self._places.values():
            if revision == base and (self._servers.runs(urls) or not self._servers.serve(role)):
                return urls
        raise ModelRefusedError(f"it is an adapter of revision {base}, which no server here serves")

    def _note_place(self, encoder: BiEncoder | CrossEncoder, urls: str) -> None:
        """Where a model is served, if elsewhere."""
        if urls:
            self._servers.use(urls)
            self._places[id(encoder)] = encoder.contract.revision, urls

    def _close(self, encoder: BiEncoder | CrossEncoder) -> None:
        close_model(encoder)
        if id(encoder) in self._places:
            self._servers.leave(self._places.pop(id(encoder))[1])

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

        return Shared(reranker, origin, lambda _: self._close(encoder), Reranker.close)

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
    registry = configured_registry(config, data_dir)
    config, origins = resolve_models(config, registry)
    config, servers = resources.enter_context(own_servers(config))
    workshop = Workshop(config, data_dir, registry, origins, servers)
    models = workshop.open_configured()
    share = config.feedback.exploration_share if config.feedback.enabled else 0.0
    serving = Serving(workshop.variant(PRODUCTION, models), share)
    resources.callback(serving.close)
    return Assembled(models.bi_encoder.model if models.bi_encoder else None, serving, workshop)


def _release_unused(model: Shared[BiEncoder] | Shared[Reranker] | None) -> None:
    if model is not None and model.release():
        model.close()
