"""The registry: immutable versions of models, and the aliases that say which of them serves.

    ROOT/MODEL/versions/VERSION/   contract.json, model.onnx, tokenizer.json ...: never changed
    ROOT/MODEL/aliases.json        {"production": VERSION, "canary": ..., "previous": ...}

publish -> versions -> fetch (digests checked) -> served -> move_aliases. `contract.json` is written
last and holds the sha256 digest of every other file.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sidecar.config import RegistryConfig
from sidecar.errors import (
    InvalidFieldError,
    ModelChangeError,
    ModelNotFoundError,
    ModelRefusedError,
    StorageError,
)
from sidecar.storage.alias_moves import ALIASES, Moves
from sidecar.storage.files import digest_of
from sidecar.storage.registry_store import Store, open_store

CONTRACT_FILE = "contract.json"
ALIASES_FILE = "aliases.json"
CACHE_FOLDER = "registry-cache"
_WEIGHTS = (".onnx", ".onnx_data", ".safetensors")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_NAME_RULE = "give 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit"
_REVISION_DIGITS = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A version as its contract describes it. `published` is in seconds since the epoch."""

    model: str
    version: str
    published: float
    contract: Mapping[str, Any]

    @property
    def revision(self) -> str:
        """What answers name when it serves."""
        return str(self.contract.get("revision", ""))

    @property
    def files(self) -> dict[str, str]:
        """sha256 hex digests by file name."""
        return {str(name): str(digest) for name, digest in self.contract["files"].items()}


@dataclass(frozen=True, slots=True)
class FetchedVersion:
    """A version whose files are on this machine, their digests checked."""

    model: str
    version: str
    folder: Path


class Registry:
    """A folder or an address of models. Methods block; they raise StorageError where the registry
    cannot be read or written. Thread safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str], PublishedVersion] = {}

    def publish(
        self,
        folder: Path,
        model: str,
        version: str | None = None,
        origin: Mapping[str, str] | None = None,
    ) -> str:
        """Copies a model folder that has a contract into the registry as a new version of a model.

        `version` None is the next number. `origin`, whatever says where it comes from, is kept in
        its contract. Its revision there is "<version>-<8 hex digits of its weights' digest>".
        Returns the version. Raises InvalidFieldError for a name or a version that cannot be or
        exists, ModelRefusedError for a folder that is not what its contract says.
        """
        _check_name("model", model)
        if version is not None:
            _check_version(version)
        contract = _publishable(folder)
        files = _digests(folder)
        _check_promised(folder, contract, files)
        with self._store.locked(model):
            self._check_kind(model, contract)
            version = self._free_version(model, version)
            contract["revision"] = f"{version}-{_digest_of_weights(files)[:_REVISION_DIGITS]}"
            contract["published"] = datetime.datetime.now(datetime.UTC).isoformat()
            contract |= {"files": files, "origin": dict(origin or contract.get("origin") or {})}
            written = json.dumps(contract, indent=2, ensure_ascii=False).encode()
            at = _folder_of(model, version)
            self._store.add(folder, sorted(files), at, {CONTRACT_FILE: written})
        return version

    def models(self) -> list[str]:
        """The names of its models."""
        return [name for name in self._store.folders("") if _NAME.match(name)]

    def versions(self, model: str) -> list[PublishedVersion]:
        """The versions of a model, the latest first; those whose contract cannot be read are left
        out, and the log says so."""
        found = []
        for version in self._store.folders(f"{model}/versions"):
            try:
                found.append(self._read(model, version))
            except (ModelRefusedError, FileNotFoundError) as error:
                _log.warning("version %s of %s is left out: %s", version, model, error)
        return sorted(found, key=lambda each: -each.published)

    def aliases(self, model: str) -> dict[str, str]:
        """The versions that aliases point to, by alias. Raises StorageError if damaged."""
        with contextlib.suppress(FileNotFoundError):
            return _to_aliases(model, self._store.read(f"{model}/{ALIASES_FILE}"))
        return {}

    def move_aliases(self, model: str, moves: Moves, expected: Mapping[str, str]) -> None:
        """Points aliases to other versions, None: to none. All of them, or none.

        `expected` is what `aliases` gave before. Raises ModelChangeError if they were moved since,
        ModelNotFoundError for a version that there is not.
        """
        for version in moves.values():
            if version is not None:
                self.describe(model, version)
        with self._store.locked(model):
            found = self.aliases(model)
            if found != dict(expected):
                raise ModelChangeError(
                    f"the aliases of {model} were moved by somebody else: they are {found}, they "
                    f"were {dict(expected)}: look at them, then try again"
                )
            moved = {alias: version for alias, version in (found | dict(moves)).items() if version}
            written = json.dumps(moved, indent=1, sort_keys=True).encode()
            self._store.write(f"{model}/{ALIASES_FILE}", written)

    def resolve(self, model: str, version: str) -> str:
        """The version that an alias names, or the version itself. Raises ModelNotFoundError."""
        if version not in ALIASES:
            return version
        aliases = self.aliases(model)
        if version not in aliases:
            raise ModelNotFoundError(
                f"{model!r} has no alias {version!r} in the registry{self._hint(model)}"
            )
        return aliases[version]

    def describe(self, model: str, version: str) -> PublishedVersion:
        """A version, or that of an alias. Raises ModelNotFoundError, ModelRefusedError."""
        resolved = self.resolve(model, version)
        if not (_NAME.match(model) and _NAME.match(resolved)):
            raise ModelNotFoundError(f"the registry has no model {model!r}, version {version!r}")
        try:
            return self._read(model, resolved)
        except FileNotFoundError:
            raise ModelNotFoundError(self._why_not(model, version, resolved)) from None

    def fetch(self, model: str, version: str) -> FetchedVersion:
        """The files of a version or alias. Raises ModelNotFoundError, ModelRefusedError."""
        published = self.describe(model, version)
        named = set(self.aliases(model).values())
        self._store.forget(f"{model}/versions", {published.version, *named})
        try:
            folder = self._checked(published)
        except ModelRefusedError:  # a copy may be what is damaged
            self._store.forget(f"{model}/versions", named - {published.version})
            folder = self._checked(published)
        return FetchedVersion(model, published.version, folder)

    def _checked(self, published: PublishedVersion) -> Path:
        if not published.contract.get("golden_pairs"):  # it came some other way than by `publish`
            raise _refused(published, "it has no golden pairs, by which it could be checked")
        at = _folder_of(published.model, published.version)
        try:
            folder = self._store.local(at, [*published.files, CONTRACT_FILE])
        except FileNotFoundError as error:
            raise _refused(published, f"{error} is missing") from error
        _check_digests(published, folder)
        return folder

    def _read(self, model: str, version: str) -> PublishedVersion:
        """Versions never change: each contract is read once."""
        if (model, version) not in self._known:
            written = self._store.read(f"{_folder_of(model, version)}/{CONTRACT_FILE}")
            self._known[model, version] = _to_published(model, version, written)
        return self._known[model, version]

    def _free_version(self, model: str, version: str | None) -> str:
        taken = self._store.folders(f"{model}/versions")
        if version is None:
            numbers = [int(each) for each in taken if each.isdecimal()]
            return str(max(numbers, default=0) + 1)
        if version in taken:
            raise InvalidFieldError(
                "version", f"{model} has {version!r} already, and versions never change: give none"
            )
        return version

    def _check_kind(self, model: str, contract: Mapping[str, Any]) -> None:
        kind = contract.get("kind")
        for earlier in self.versions(model)[:1]:
            if earlier.contract.get("kind") != kind:
                raise ModelRefusedError(
                    f"{model} is a {earlier.contract.get('kind')}, this is a {kind}: publish it "
                    "under another name"
                )

    def _why_not(self, model: str, version: str, resolved: str) -> str:
        if resolved in self._store.folders(f"{model}/versions"):
            return (
                f"version {resolved!r} of {model!r} has no {CONTRACT_FILE}: it was not published, "
                "or not to its end; remove its folder"
            )
        alias = "" if version == resolved else f", which its alias {version!r} names"
        return f"the registry has no version {resolved!r} of {model!r}{alias}{self._hint(model)}"

    def _hint(self, model: str) -> str:
        versions = self._store.folders(f"{model}/versions")
        if versions:
            return f": it has the versions {', '.join(versions)}"
        return f": it has {', '.join(self.models()) or 'no model yet: sidecar models publish'}"


def open_registry(config: RegistryConfig, data_dir: Path) -> Registry:
    """The registry of a configuration. Raises ConfigurationError."""
    return Registry(open_store(config.url, data_dir / CACHE_FOLDER))


def _folder_of(model: str, version: str) -> str:
    return f"{model}/versions/{version}"


def _check_name(field: str, name: str) -> None:
    if not _NAME.match(name):
        raise InvalidFieldError(field, f"is {name!r}: {_NAME_RULE}")


def _check_version(version: str) -> None:
    _check_name("version", version)
    if version in ALIASES:
        raise InvalidFieldError("version", f"{version!r} is an alias: give another")


def _publishable(folder: Path) -> dict[str, Any]:
    """The contract of a folder that can be checked wherever it is to serve."""
    try:
        contract = json.loads((folder / CONTRACT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelRefusedError(
            f"{folder / CONTRACT_FILE} cannot be read ({error}): only a model with a contract can "
            "be published"
        ) from error
    if not isinstance(contract, dict) or not contract.get("golden_pairs"):
        raise ModelRefusedError(
            f"{folder / CONTRACT_FILE} has no golden pairs: without them nobody could tell whether "
            "it serves as it was trained"
        )
    return contract


def _digests(folder: Path) -> dict[str, str]:
    """Of all files but the contract and hidden ones, by name."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    return {
        name: digest_of(path)
        for name, path in paths.items()
        if path.is_file() and name != CONTRACT_FILE and not _is_hidden(name)
    }


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def _check_promised(folder: Path, contract: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Raises ModelRefusedError unless the files are those that the contract was written for."""
    wrong = [
        name for name, digest in contract.get("files", {}).items() if files.get(name) != digest
    ]
    if wrong:
        raise ModelRefusedError(
            f"{folder / wrong[0]} is not the file that {CONTRACT_FILE} describes: build it again"
        )
    if not _weights(files):
        raise ModelRefusedError(f"{folder} holds no weights: one of *{', *'.join(_WEIGHTS)}")


def _weights(files: Mapping[str, str]) -> list[str]:
    return [digest for name, digest in sorted(files.items()) if name.endswith(_WEIGHTS)]


def _digest_of_weights(files: Mapping[str, str]) -> str:
    digests = _weights(files)
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _to_published(model: str, version: str, written: bytes) -> PublishedVersion:
    try:
        contract = json.loads(written)
        published = datetime.datetime.fromisoformat(contract["published"]).timestamp()
        names = [PurePosixPath(name) for name in contract["files"]]
        if any(name.is_absolute() or ".." in name.parts for name in names):
            raise ValueError("a file lies outside of its folder")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelRefusedError(
            f"{CONTRACT_FILE} of {model} {version} is damaged ({error!r}): publish it anew"
        ) from error
    return PublishedVersion(model, version, published, contract)


def _check_digests(published: PublishedVersion, folder: Path) -> None:
    for name, expected in published.files.items():
        try:
            found = digest_of(folder / name)
        except FileNotFoundError:
            raise _refused(published, f"its {name} is missing") from None
        except OSError as error:
            raise StorageError(f"{folder / name}: {error.strerror}") from error
        if found != expected:
            raise _refused(published, f"its {name} is not the one that was published (sha256)")


def _refused(published: PublishedVersion, why: str) -> ModelRefusedError:
    head = f"version {published.version} of {published.model} is refused"
    return ModelRefusedError(f"{head}: {why}; publish it anew")


def _to_aliases(model: str, written: bytes) -> dict[str, str]:
    try:
        aliases = json.loads(written)
        return {alias: str(aliases[alias]) for alias in ALIASES if alias in aliases}
    except (ValueError, TypeError) as error:
        raise StorageError(f"{ALIASES_FILE} of {model} is damaged: {error}") from error
