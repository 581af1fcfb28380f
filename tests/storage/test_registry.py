"""A registry in a folder, and the same at an address that fsspec knows."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from registries import model_folder

from sidecar.config import RegistryConfig
from sidecar.errors import (
    ConfigurationError,
    InvalidFieldError,
    ModelChangeError,
    ModelNotFoundError,
    ModelRefusedError,
    StorageError,
)
from sidecar.storage.registry import Registry, open_registry

Open = Callable[[], Registry]


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "reg") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def open_it(url: str, tmp_path: Path) -> Open:
    """Opens the registry as one process after the other would."""
    return lambda: open_registry(RegistryConfig(url=url), tmp_path / "data")


def test_a_version_comes_back_as_it_was_published(open_it: Open, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", licence="Apache-2.0")
    assert open_it().publish(folder, "second", origin={"trained": "on clicks"}) == "1"
    fetched = open_it().fetch("second", "1")
    contract = json.loads((fetched.folder / "contract.json").read_text())
    assert (fetched.folder / "model.onnx").read_text() == "sound"
    assert set(contract["files"]) == {"model.onnx", "tokenizer.json"}
    # sha256 of "sound", by coreutils
    assert contract["revision"] == "1-dd29442d"
    assert contract["licence"] == "Apache-2.0"
    assert contract["origin"] == {"trained": "on clicks"}


def test_versions_are_numbered_listed_latest_first_and_never_replaced(
    open_it: Open, tmp_path: Path
) -> None:
    folder, registry = model_folder(tmp_path / "model"), open_it()
    published = [registry.publish(folder, "second") for _ in range(2)]
    published.append(registry.publish(folder, "second", "2026-11-21"))
    published.append(registry.publish(folder, "second"))
    assert published == ["1", "2", "2026-11-21", "3"]
    listed = open_it().versions("second")
    assert [each.version for each in listed] == ["3", "2026-11-21", "2", "1"]
    assert len({each.revision for each in listed}) == 4
    assert registry.models() == ["second"]
    with pytest.raises(InvalidFieldError, match="versions never change"):
        registry.publish(folder, "second", "2")


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "a b", "x" * 65, "production"])
def test_names_that_cannot_be_are_refused(open_it: Open, tmp_path: Path, name: str) -> None:
    folder, registry = model_folder(tmp_path / "model"), open_it()
    with pytest.raises(InvalidFieldError):
        registry.publish(folder, "second", name)
    if name != "production":
        with pytest.raises(InvalidFieldError):
            registry.publish(folder, name)
        with pytest.raises(ModelNotFoundError):
            registry.fetch(name, "1")
    assert registry.models() == []


def test_what_cannot_be_checked_later_is_not_published(open_it: Open, tmp_path: Path) -> None:
    registry = open_it()
    with pytest.raises(ModelRefusedError, match="golden pairs"):
        registry.publish(model_folder(tmp_path / "a", golden_pairs=[]), "second")
    with pytest.raises(ModelRefusedError, match="not the file"):
        registry.publish(model_folder(tmp_path / "b", files={"model.onnx": "0" * 64}), "second")
    with pytest.raises(ModelRefusedError, match="contract"):
        registry.publish(tmp_path, "second")
    (model_folder(tmp_path / "c", files={}) / "model.onnx").unlink()
    with pytest.raises(ModelRefusedError, match="weights"):
        registry.publish(tmp_path / "c", "second")
    assert registry.versions("second") == []


def test_aliases_move_together_and_only_from_where_they_were_seen(
    open_it: Open, tmp_path: Path
) -> None:
    folder, registry = model_folder(tmp_path / "model"), open_it()
    for _ in range(2):
        registry.publish(folder, "second")
    registry.move_aliases("second", {"production": "1", "canary": "2"}, {})
    seen = open_it().aliases("second")
    assert seen == {"production": "1", "canary": "2"}
    moves = {"production": "2", "previous": "1", "canary": None}
    registry.move_aliases("second", moves, seen)
    assert open_it().aliases("second") == {"production": "2", "previous": "1"}
    with pytest.raises(ModelChangeError, match="somebody else"):
        registry.move_aliases("second", {"production": "1"}, seen)
    with pytest.raises(ModelNotFoundError, match="no version '9'"):
        registry.move_aliases("second", {"production": "9"}, open_it().aliases("second"))
    assert open_it().fetch("second", "production").version == "2"


def test_a_missing_alias_model_or_version_says_what_there_is(open_it: Open, tmp_path: Path) -> None:
    registry = open_it()
    with pytest.raises(ModelNotFoundError, match="no model yet"):
        registry.fetch("second", "production")
    registry.publish(model_folder(tmp_path / "model"), "second")
    with pytest.raises(ModelNotFoundError, match=r"no alias 'production'.* versions 1"):
        registry.fetch("second", "production")
    with pytest.raises(ModelNotFoundError, match=r"no version '7' of 'second': .* versions 1"):
        registry.fetch("second", "7")


def test_a_model_stays_of_its_kind(open_it: Open, tmp_path: Path) -> None:
    registry = open_it()
    registry.publish(model_folder(tmp_path / "one"), "second")
    other = model_folder(tmp_path / "other", kind="bi-encoder")
    with pytest.raises(ModelRefusedError, match="second is a cross-encoder, this is a bi-encoder"):
        registry.publish(other, "second")
    assert registry.publish(other, "encoder") == "1"


def test_versions_that_came_some_other_way_are_named_for_what_they_are(tmp_path: Path) -> None:
    registry = open_registry(RegistryConfig(url=str(tmp_path / "reg")), tmp_path / "data")
    registry.publish(model_folder(tmp_path / "model"), "second")
    versions = tmp_path / "reg" / "second" / "versions"
    (versions / "5").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"version '5' of 'second' has no contract\.json"):
        registry.fetch("second", "5")
    (tmp_path / "reg" / "second" / "aliases.json").write_text('{"production": "99"}')
    with pytest.raises(ModelNotFoundError, match="'99' of 'second', which its alias 'production'"):
        registry.fetch("second", "production")
    contract = versions / "1" / "contract.json"
    contract.write_text(json.dumps(json.loads(contract.read_text()) | {"golden_pairs": []}))
    with pytest.raises(ModelRefusedError, match="no golden pairs"):
        open_registry(RegistryConfig(url=str(tmp_path / "reg")), tmp_path / "data").fetch(
            "second", "1"
        )


def test_damage_is_found_whenever_a_version_is_fetched(open_it: Open, url: str, tmp_path: Path):
    registry = open_it()
    registry.publish(model_folder(tmp_path / "model"), "second")
    folder = open_it().fetch("second", "1").folder
    (folder / "model.onnx").write_text("sounds")
    if url.startswith("memory://"):  # it was a copy that is damaged: made anew
        assert (open_it().fetch("second", "1").folder / "model.onnx").read_text() == "sound"
        return
    with pytest.raises(ModelRefusedError, match=r"its model.onnx is not the one"):
        registry.fetch("second", "1")
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelRefusedError, match=r"its model.onnx is missing"):
        registry.fetch("second", "1")
    (folder / "contract.json").write_text("{}")
    assert open_it().versions("second") == []
    with pytest.raises(ModelRefusedError, match="damaged"):
        open_it().fetch("second", "1")


def test_a_contract_cannot_name_files_outside_of_its_folder(tmp_path: Path) -> None:
    registry = open_registry(RegistryConfig(url=str(tmp_path / "reg")), tmp_path)
    registry.publish(model_folder(tmp_path / "model"), "second")
    path = tmp_path / "reg" / "second" / "versions" / "1" / "contract.json"
    contract = json.loads(path.read_text())
    path.write_text(json.dumps(contract | {"files": {"../../aliases.json": "0" * 64}}))
    with pytest.raises(ModelRefusedError, match="outside"):
        open_registry(RegistryConfig(url=str(tmp_path / "reg")), tmp_path).fetch("second", "1")


def test_copies_of_versions_that_no_alias_names_are_removed(tmp_path: Path) -> None:
    config = RegistryConfig(url=f"memory://{uuid.uuid4().hex}")
    registry, folder = open_registry(config, tmp_path), model_folder(tmp_path / "model")
    for _ in range(3):
        registry.publish(folder, "second")
    registry.move_aliases("second", {"production": "1"}, {})
    folders = [registry.fetch("second", version).folder for version in ("1", "2", "3")]
    assert [each.is_dir() for each in folders] == [True, False, True]


def test_damaged_aliases_stop_a_change_and_are_not_lost(tmp_path: Path) -> None:
    registry = open_registry(RegistryConfig(url=str(tmp_path / "reg")), tmp_path)
    registry.publish(model_folder(tmp_path / "model"), "second")
    (tmp_path / "reg" / "second" / "aliases.json").write_text("[")
    with pytest.raises(StorageError, match="damaged"):
        registry.move_aliases("second", {"production": "1"}, {})
    assert (tmp_path / "reg" / "second" / "aliases.json").read_text() == "["


def test_of_many_that_move_an_alias_at_once_one_wins(tmp_path: Path) -> None:
    registry = open_registry(RegistryConfig(url=str(tmp_path / "reg")), tmp_path)
    folder = model_folder(tmp_path / "model")
    versions = [registry.publish(folder, "second") for _ in range(8)]
    together = threading.Barrier(len(versions))

    def move(version: str) -> bool:
        together.wait(30)
        try:
            registry.move_aliases("second", {"production": version}, {})
        except ModelChangeError:
            return False
        return True

    with ThreadPoolExecutor(len(versions)) as threads:
        moved = list(threads.map(move, versions))
    assert sum(moved) == 1
    assert registry.aliases("second") == {"production": versions[moved.index(True)]}


def test_of_many_that_publish_at_once_each_gets_a_version(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    config = RegistryConfig(url=str(tmp_path / "reg"))
    with ThreadPoolExecutor(8) as threads:
        publish = [
            threads.submit(open_registry(config, tmp_path).publish, folder, "second")
            for _ in range(8)
        ]
        published = [one.result() for one in publish]
    assert sorted(published, key=int) == [str(number) for number in range(1, 9)]


def test_an_address_that_nobody_knows_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"registry.url"):
        open_registry(RegistryConfig(url="nosuch://bucket/models"), tmp_path)
