"""Exchanges the models that serve for versions of the registry, while requests go on.

fetch (digests) -> open beside (golden pairs) -> warm up -> a bi-encoder's generation -> flip
-> aliases

Nothing is taken from what serves before the flip, which is one assignment: a change that fails, or
whose caller leaves, leaves no trace. From the flip on it is brought to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from sidecar.config import Config
from sidecar.errors import (
    InvalidFieldError,
    ModelChangeError,
    ModelNotFoundError,
    SidecarError,
)
from sidecar.models.contract import ModelContract
from sidecar.pipeline.assembly import Workshop
from sidecar.pipeline.assignment import Shares
from sidecar.pipeline.exchange.flips import Canary, Flips, named
from sidecar.pipeline.exchange.newcomers import AnyModel, Newcomers, is_bi_encoder
from sidecar.pipeline.exchange.open_bi_encoders import OpenBiEncoders, let_go
from sidecar.pipeline.exchange.recording import AliasError, record_promotion
from sidecar.pipeline.exchange.standing_models import ChangePhase, ModelChange
from sidecar.pipeline.feedback import Feedback
from sidecar.pipeline.serving import Serving
from sidecar.pipeline.variant import Origin
from sidecar.recall.catalog import Catalog
from sidecar.storage.alias_moves import PREVIOUS
from sidecar.storage.registry import Registry

Changes = AsyncGenerator[ModelChange]
Flip = Callable[[str, AnyModel], Coroutine[Any, Any, None]]
T = TypeVar("T")
_log = logging.getLogger(__name__)


class ModelChanges:
    """One change at a time, one canary at a time. For one event loop.

    Raises ModelNotFoundError for what the registry does not have, ModelChangeError for what cannot
    be done as things stand, ModelRefusedError for a version that does not hold what it promises,
    StorageError; also after a flip, for aliases that could not be moved.
    """

    def __init__(
        self,
        workshop: Workshop,
        serving: Serving,
        catalog: Catalog,
        feedback: Feedback,
        config: Config,
    ) -> None:
        self.serving = serving
        self.change: ModelChange | None = None  # under way
        self._workshop = workshop
        self._config = config
        self._newcomers = Newcomers(workshop)
        self._bi_encoders = OpenBiEncoders(catalog)
        self._flips = Flips(workshop, serving, self._bi_encoders, feedback, config.guard)
        bi_encoder = serving.lineup.production.models.bi_encoder
        if bi_encoder is not None:
            self._bi_encoders.hold(bi_encoder)

    @property
    def registry(self) -> Registry | None:
        """Where versions come from."""
        return self._workshop.registry

    @property
    def canary(self) -> Canary | None:
        """What serves a share of the sessions now."""
        return self._flips.canary

    def need_registry(self) -> Registry:
        """The same. Raises ModelChangeError if there is none."""
        if self._workshop.registry is None:
            raise ModelChangeError("there is no registry: set registry.url")
        return self._workshop.registry

    async def activate(self, model: str, version: str) -> Changes:
        """Makes a version or alias serve all sessions."""
        role = self._role_of(model)
        self._check_no_canary()
        origin = await self._resolved(model, version)
        change = ModelChange(model, origin.version)
        if self._origin_of(role) == origin:
            async with contextlib.aclosing(self._make_good(role, change)) as steps:
                async for step in steps:
                    yield step
            return
        async with contextlib.aclosing(self._exchange(role, change, self._flips.promote)) as steps:
            async for step in steps:
                yield step

    async def roll_back(self, model: str) -> Changes:
        """Makes the version of the alias "previous" serve again."""
        role = self._role_of(model)
        origin = await self._resolved(model, PREVIOUS)
        if self._origin_of(role) == origin:
            raise ModelChangeError(
                f"{named(origin)}, its alias {PREVIOUS!r}, serves here already: activate the "
                "version that is wanted"
            )
        async with contextlib.aclosing(self.activate(model, origin.version)) as steps:
            async for step in steps:
                yield step

    async def start_canary(
        self, model: str, version: str, share: float, interleaved_share: float
    ) -> Changes:
        """Makes a version or alias serve a share of the sessions; of the version that is the canary
        already it changes the shares. Raises InvalidFieldError, too."""
        role = self._role_of(model)
        _check_shares(role, share, interleaved_share)
        if interleaved_share and not self._config.feedback.enabled:
            raise ModelChangeError(
                "interleaved rankings are compared by the clicks on them, and feedback.enabled is "
                "false: set it, or give a share alone"
            )
        origin = await self._resolved(model, version)
        change = ModelChange(model, origin.version, canary=True)
        shares = Shares(share, interleaved_share, uuid.uuid4().hex)
        if self.canary is not None and self.canary.origin == origin:
            self._flips.change_shares(shares)
            yield dataclasses.replace(change, phase=ChangePhase.FLIPPED)
            return
        self._check_no_canary()
        if self._origin_of(role) == origin:
            raise ModelChangeError(f"{named(origin)} serves all sessions already")

        async def flip(role: str, newcomer: AnyModel) -> None:
            await self._flips.begin_canary(role, newcomer, shares)

        async with contextlib.aclosing(self._exchange(role, change, flip)) as steps:
            async for step in steps:
                yield step

    async def promote(self, model: str) -> str:
        """Makes the canary serve all sessions, at once; returns its version."""
        canary = self.canary_of(model)
        with self._alone(ModelChange(model, canary.origin.version)):
            await self._finish(self._flips.promote_canary(canary))
        return canary.origin.version

    async def stop_canary(self, model: str) -> str:
        """Takes the canary away, at once; returns its version."""
        canary = self.canary_of(model)
        await self._finish(self._flips.end_canary(canary))
        return canary.origin.version

    def canary_of(self, model: str) -> Canary:
        """The canary of a model."""
        self._role_of(model)
        if self.canary is None or self.canary.origin.registry_model != model:
            raise ModelChangeError(f"{model} has no canary: start one")
        return self.canary

    def production_of(self, canary: Canary) -> Origin:
        """The version that a canary is beside."""
        return self._origin_of(canary.role)

    async def wait_tidied(self) -> None:
        """Until all that a flip leaves behind is freed."""
        await self._flips.wait_tidied()

    def close(self) -> None:
        """Frees what no variant has; after the catalog is closed. Blocks."""
        self._newcomers.close()
        self._bi_encoders.close()

    # How a version comes

    async def _make_good(self, role: str, change: ModelChange) -> Changes:
        """What a version that serves already lacks: vectors of documents (of a collection that was
        opened with it and had those of another), aliases."""
        serving = self._model_of(role)
        with self._alone(change):
            if is_bi_encoder(serving):
                async for done, total in self._bi_encoders.build(serving):
                    yield self._at(ChangePhase.ENCODING, done, total)
                await self._finish(self._bi_encoders.lead_with(serving))
            moved = asyncio.to_thread(record_promotion, self.need_registry(), serving.origin)
            await self._finish(moved)
            yield self._at(ChangePhase.FLIPPED)

    async def _exchange(self, role: str, change: ModelChange, flip: Flip) -> Changes:
        """Brings a version and flips to it. What it has opened is let go again by the end."""
        origin = Origin(change.model, change.version)
        with self._alone(change):
            async with contextlib.AsyncExitStack() as held:
                with _logged(origin):
                    await self._flips.wait_tidied()
                    newcomer: AnyModel | None = self._bi_encoders.find(origin)
                    if newcomer is None:
                        yield self._at(ChangePhase.FETCHING)
                        fetched = await self._newcomers.fetch(self.need_registry(), origin)
                        yield self._at(ChangePhase.LOADING)
                        like = self._contract_of(role)
                        newcomer = await self._newcomers.open(role, fetched, like)
                    newcomer.take()
                    held.push_async_callback(let_go, newcomer)
                    yield self._at(ChangePhase.CHECKING)
                    await self._newcomers.warm_up(newcomer)
                    if is_bi_encoder(newcomer):
                        held.callback(self._flips.tidy)
                        async for done, total in self._bi_encoders.build(newcomer):
                            yield self._at(ChangePhase.ENCODING, done, total)
                late = await self._finish(_but_for_aliases(flip(role, newcomer)))
            yield self._at(ChangePhase.FLIPPED)
            if late is not None:
                raise late

    # What is under way

    @contextlib.contextmanager
    def _alone(self, change: ModelChange) -> Iterator[None]:
        if self.change is not None:
            under_way = named(Origin(self.change.model, self.change.version))
            raise ModelChangeError(f"a change to {under_way} is under way: wait for its end")
        self.change = change
        try:
            yield
        finally:
            self.change = None

    def _at(self, phase: ChangePhase, done: int = 0, total: int = 0) -> ModelChange:
        assert self.change is not None
        self.change = dataclasses.replace(self.change, phase=phase, done=done, total=total)
        return self.change

    async def _finish(self, ending: Coroutine[Any, Any, T]) -> T:
        """What `ending` returns. It is brought to its end even if the caller leaves."""
        task = asyncio.ensure_future(ending)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait({task})
            if not task.cancelled() and task.exception() is not None:
                _log.error("after its caller left: %s", task.exception())
            raise

    # Who is meant

    def _role_of(self, model: str) -> str:
        """The role that a model of the registry has."""
        self.need_registry()
        known = self.serving.lineup.production.models.by_role()
        for role, shared in known.items():
            if model and shared.origin.registry_model == model:
                return role
        if any(shared.model.contract.name == model for shared in known.values()):
            raise ModelChangeError(
                f"{model} is not of the registry: configure it as 'registry:NAME' to exchange it"
            )
        names = ", ".join(filter(None, (shared.origin.registry_model for shared in known.values())))
        raise ModelNotFoundError(
            f"no role has the model {model!r} of the registry: those of {names or 'none'} have one"
        )

    async def _resolved(self, model: str, version: str) -> Origin:
        """The version that a version or an alias means."""
        resolve = self.need_registry().resolve
        return Origin(model, await asyncio.to_thread(resolve, model, version))

    def _origin_of(self, role: str) -> Origin:
        return self._model_of(role).origin

    def _contract_of(self, role: str) -> ModelContract:
        return self._model_of(role).model.contract

    def _model_of(self, role: str) -> AnyModel:
        return self._flips.production_of(role)

    def _check_no_canary(self) -> None:
        if self.canary is not None:
            raise ModelChangeError(
                f"{named(self.canary.origin)} is the canary: promote or stop it first"
            )


@contextlib.contextmanager
def _logged(origin: Origin) -> Iterator[None]:
    """Says in the log how a change ended that did not come to its flip."""
    try:
        yield
    except SidecarError as error:
        _log.warning("%s does not serve: %s", named(origin), error.message)
        raise
    except (asyncio.CancelledError, GeneratorExit):
        _log.info(
            "the change to %s was given up: its caller left, or the server stops", named(origin)
        )
        raise


async def _but_for_aliases(flip: Coroutine[Any, Any, None]) -> AliasError | None:
    """Flips. Returns the error if that could not be written down, which does not undo it."""
    try:
        await flip
    except AliasError as error:
        return error
    return None


def _check_shares(role: str, share: float, interleaved_share: float) -> None:
    for field, value in (("share", share), ("interleaved_share", interleaved_share)):
        if not 0.0 <= value <= 1.0:
            raise InvalidFieldError(field, f"is {value:g}: give 0 to 1")
    if share + interleaved_share > 1.0:
        raise InvalidFieldError(
            "interleaved_share", f"is {interleaved_share:g}: with share it is more than 1"
        )
    if role == "bi_encoder" and interleaved_share > 0.0:
        raise InvalidFieldError("interleaved_share", "is for rerankers only: give share")
