"""Brings a model that was accepted to where it serves: a version in the registry, then its turn.

A version says where it comes from (`lineage_of`); the same lineage is published once. With a
sidecar's address the sidecar exchanges its models, which checks the version first, and moves the
aliases; without one only the aliases move.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.config import RegistryConfig
from sidecar.errors import ConfigurationError, ModelRefusedError, SidecarError
from sidecar.storage.alias_moves import CANARY, PRODUCTION, moves_of_promotion
from sidecar.storage.registry import PublishedVersion, Registry, open_registry
from training.config import PublishConfig, SidecarConfig
from training.serving.models import ModelChange, activate, serving_models, start_canary
from training.stage import read_manifest

LINEAGE = "lineage"  # a digest, by which a version is found again
CACHE_FOLDER = "registry"


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of a version: the phases of the exchange with the seconds that each took, the
    aliases of its model afterwards, and what somebody should know."""

    phases: tuple[tuple[str, float], ...]
    aliases: Mapping[str, str]
    warnings: tuple[str, ...]


def registry_of(config: PublishConfig, kept: Path) -> Registry:
    """`kept`: where files of a registry at an address are kept. Raises ConfigurationError."""
    return open_registry(RegistryConfig(url=config.registry), kept / CACHE_FOLDER)


def lineage_of(root: Path, places: Iterable[str], about: Mapping[str, Any]) -> dict[str, str]:
    """Where a model comes from, as its contract keeps it: every stage that it goes back to with the
    digest of what it left, the digests of what was read from outside, code, seed, and `about`."""
    manifests = dict(_manifests(root, places))
    stages = {place: manifest["key"] for place, manifest in manifests.items()}
    outside = {
        Path(name).name: digest
        for manifest in manifests.values()
        for name, digest in manifest["reads"].items()
    }
    seeds = sorted({manifest["seed"] for manifest in manifests.values()})
    code = sorted({json.dumps(manifest["code"]) for manifest in manifests.values()})
    told = {
        **about,
        "run": root.resolve().name,
        "seed": " ".join(map(str, seeds)),
        "code": " ".join(code),
        "stages": json.dumps(stages, sort_keys=True),
        "read": json.dumps(outside, sort_keys=True),
    }
    return {name: str(value) for name, value in told.items()}


def publish_once(
    registry: Registry, folder: Path, model: str, lineage: Mapping[str, str]
) -> PublishedVersion:
    """The version of a folder with this lineage, published now unless it was before.

    Raises InvalidFieldError, ModelRefusedError, StorageError.
    """
    digest = _digest_of(folder, lineage)
    for version in registry.versions(model):
        if (version.contract.get("origin") or {}).get(LINEAGE) == digest:
            return version
    published = registry.publish(folder, model, origin={**lineage, LINEAGE: digest})
    return registry.describe(model, published)


def check_place(sidecar: SidecarConfig, role: str, model: str) -> None:
    """Raises ConfigurationError unless the sidecar takes the model of a role from the registry
    under this name: only such a model can be exchanged."""
    serving = serving_models(sidecar.address, sidecar.timeout_seconds).get(role)
    if serving is not None and serving.registry_model == model:
        return
    has = "no model" if serving is None else serving.registry_model or f"{serving.name}, not of one"
    raise ConfigurationError(
        f"the sidecar on {sidecar.address} has {has} as its {role}: configure it with "
        f'{role}.model = "registry:{model}" and registry.url, or name in [publish] what it has'
    )


def take_turn(
    registry: Registry,
    version: PublishedVersion,
    config: PublishConfig,
    sidecar: SidecarConfig,
    tell: Callable[[ModelChange], None],
) -> Turn:
    """Makes a version serve as `config.to` says; `tell` is told how far it is.

    Raises ModelRefusedError where the sidecar does not take it: what served goes on serving.
    """
    model, warnings = version.model, []
    phases: list[tuple[str, float]] = []
    if config.to == "version":
        pass
    elif sidecar.address:
        phases = _exchange(version, config, sidecar.address, tell)
    else:
        found = registry.aliases(model)
        moves: Mapping[str, str | None] = {CANARY: version.version}
        if config.to == PRODUCTION:
            moves = moves_of_promotion(found, version.version)
        registry.move_aliases(model, moves, found)
        warnings.append(
            f"no sidecar has checked {model} {version.version}: the alias {config.to} was moved, "
            "and sidecars serve it from their next start or look at the registry"
        )
    return Turn(tuple(phases), registry.aliases(model), tuple(warnings))


def _exchange(
    version: PublishedVersion,
    config: PublishConfig,
    address: str,
    tell: Callable[[ModelChange], None],
) -> list[tuple[str, float]]:
    """The phases and their seconds."""
    if config.to == PRODUCTION:
        changes = activate(address, version.model, version.version)
    else:
        changes = start_canary(address, version.model, version.version, config.share)
    try:
        return list(_timed(changes, tell))
    except SidecarError as error:
        raise ModelRefusedError(
            f"{version.model} {version.version} is in the registry, and the sidecar on {address} "
            f"does not take it: {error.message}; what served goes on serving"
        ) from error


def _timed(
    changes: Iterator[ModelChange], tell: Callable[[ModelChange], None]
) -> Iterator[tuple[str, float]]:
    """Each phase once it is over."""
    phase, began = "", time.monotonic()
    for change in changes:
        tell(change)
        if change.phase != phase:
            if phase:
                yield phase, round(time.monotonic() - began, 3)
            phase, began = change.phase, time.monotonic()
    if phase:
        yield phase, round(time.monotonic() - began, 3)


def _manifests(root: Path, places: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of stages and of all that they go back to, each once."""
    waiting, seen = sorted(places), set()
    while waiting:
        place = waiting.pop()
        manifest = None if place in seen else read_manifest(root / place)
        seen.add(place)
        if manifest is not None:
            waiting += sorted(manifest["inputs"])
            yield place, manifest


def _digest_of(folder: Path, lineage: Mapping[str, str]) -> str:
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    return hashlib.sha256(json.dumps([files, lineage], sort_keys=True).encode()).hexdigest()[:32]
