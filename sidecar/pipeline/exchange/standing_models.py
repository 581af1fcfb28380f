"""Which models serve, which versions the registry has of them, and what a change has come to."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.errors import StorageError
from sidecar.pipeline.serving import Lineup
from sidecar.pipeline.variant import PRODUCTION
from sidecar.storage.registry import PublishedVersion, Registry

_log = logging.getLogger(__name__)


class ChangePhase(enum.IntEnum):
    """What a change has come to."""

    FETCHING = 1
    LOADING = 2
    CHECKING = 3
    ENCODING = 4
    FLIPPED = 5


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A change that is under way, or has just flipped.

    `done` of `total` documents have a vector of a new bi-encoder, while ENCODING.
    """

    model: str
    version: str
    canary: bool = False
    phase: ChangePhase = ChangePhase.FETCHING
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class DescribedVersion:
    """A version of the registry and the aliases that point to it."""

    published: PublishedVersion
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServingModel:
    """A model that serves in a role ("bi_encoder", "first_reranker", "second_reranker").

    `registry_model` and `version` are empty for a model that is not of the registry. `versions`,
    the latest first, are empty if the registry cannot be read.
    """

    role: str
    name: str
    revision: str
    canary_revision: str
    registry_model: str
    version: str
    versions: tuple[DescribedVersion, ...]


async def list_serving(lineup: Lineup, registry: Registry | None) -> list[ServingModel]:
    """The models of a line-up."""
    found = []
    theirs = lineup.canary.models.by_role() if lineup.canary is not None else {}
    for role, shared in lineup.production.models.by_role().items():
        canary, origin, contract = theirs.get(role, shared), shared.origin, shared.model.contract
        found.append(
            ServingModel(
                role,
                contract.name,
                contract.revision,
                "" if canary is shared else canary.model.contract.revision,
                origin.registry_model,
                origin.version,
                await _versions_of(registry, origin.registry_model),
            )
        )
    return found


async def describe_version(registry: Registry, model: str, version: str) -> DescribedVersion:
    """A version or alias, production for "". Raises ModelNotFoundError, ModelRefusedError,
    StorageError."""
    published = await asyncio.to_thread(registry.describe, model, version or PRODUCTION)
    return _described(published, await asyncio.to_thread(registry.aliases, model))


async def _versions_of(registry: Registry | None, model: str) -> tuple[DescribedVersion, ...]:
    if registry is None or not model:
        return ()
    try:
        versions = await asyncio.to_thread(registry.versions, model)
        aliases = await asyncio.to_thread(registry.aliases, model)
    except StorageError as error:
        _log.warning("the versions of %s are not known: %s", model, error.message)
        return ()
    return tuple(_described(version, aliases) for version in versions)


def _described(published: PublishedVersion, aliases: Mapping[str, str]) -> DescribedVersion:
    names = sorted(alias for alias, version in aliases.items() if version == published.version)
    return DescribedVersion(published, tuple(names))
