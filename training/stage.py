"""What a stage is, what it is given, and the folder that it leaves.

A stage's folder has a manifest once the stage is done: what went in (digests of the folders and
files read, resolved configuration, seed, code version), what came out, and its figures. The key, a
digest of what went in, tells whether it would come out the same again; then it is not run again. A
folder without a manifest is of a stage that was cut short: with the same key the stage finds there
what it had left and may take it up.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar.errors import InputFileError
from training.config import TrainingConfig, to_tree
from training.progress import Progress, in_words

MANIFEST, BEGUN, EVENTS = "manifest.json", "begun.json", "events.jsonl"
SCRATCH = "scratch"  # below a stage's folder: what only a stage that was cut short needs
FORMAT = 1  # raise it when stages write something else from the same input


def _nothing(config: TrainingConfig, model: str) -> Iterable[Path]:
    return ()


@dataclass(frozen=True, slots=True)
class Stage:
    """All that a run has to know of a stage; declared beside its `run`.

    `sections`: parts of the configuration that it reads; "{model}" is its model's. `needs`: stages
    whose folders it reads, as far as a run has them before it: of all, of the same model, or of
    another ("bi_encoder/gate"). `reads`: files and folders from outside of the run, of one of
    MODELS. `only_with`: a key without which a run has no such stage.
    """

    name: str
    about: str
    run: Callable[[Work], Mapping[str, Any]]
    sections: tuple[str, ...]
    needs: tuple[str, ...] = ()
    reads: Callable[[TrainingConfig, str], Iterable[Path]] = _nothing
    only_with: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What `run` of a stage is given; it returns its figures, which are plain values.

    `out`: its folder, for files that later stages read; `scratch`: a folder below it for what it
    can take up again, removed once it is done. `inputs`: folders of finished stages, by their
    places ("label", "reranker/train").
    """

    config: TrainingConfig
    model: str  # one of MODELS, "" for stages of all
    out: Path
    inputs: Mapping[str, Path]
    progress: Progress

    @property
    def root(self) -> Path:
        """The run's folder."""
        return self.out.parents[1] if self.model else self.out.parent

    @property
    def scratch(self) -> Path:
        """Made when it is asked for."""
        folder = self.out / SCRATCH
        folder.mkdir(exist_ok=True)
        return folder

    def input(self, name: str) -> Path:
        """The folder of a stage of the same model, or of all. Raises KeyError: not a need of it."""
        return self.inputs.get(f"{self.model}/{name}") or self.inputs[name]


@dataclass(frozen=True, slots=True)
class Step:
    """A stage in a run. `needs`: places of the steps whose folders it reads; `reads`: files and
    folders from outside of the run."""

    stage: Stage
    model: str
    needs: tuple[str, ...]
    reads: tuple[Path, ...] = ()

    @property
    def place(self) -> str:
        """Its folder, relative to the run's."""
        return f"{self.model}/{self.stage.name}" if self.model else self.stage.name


def run_step(step: Step, config: TrainingConfig, root: Path, progress: Progress) -> dict[str, Any]:
    """Runs a step whose needs are done, or finds that it is done; its manifest."""
    out = root / step.place
    key = key_of(step, config, root)
    done = read_manifest(out)
    if done is not None and done["key"] == key:
        progress.say(f"done already: {in_words(**done['figures']) or out}")
        return done
    _begin(out, key)
    began, started = datetime.datetime.now(datetime.UTC), time.monotonic()
    inputs = {need: root / need for need in step.needs}
    progress.event("begin", key=key)
    figures = dict(step.stage.run(Work(config, step.model, out, inputs, progress)))
    shutil.rmtree(out / SCRATCH, ignore_errors=True)
    manifest = {
        "stage": step.stage.name,
        "model": step.model,
        "key": key,
        "inputs": _digests_of_needs(step, root),
        "reads": _digests_of_reads(step),
        "outputs": _digests(out, (MANIFEST, BEGUN)),
        "seed": config.seed,
        "config": json.loads(json.dumps(to_tree(config))),
        "code": code_version(),
        "began": began.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - started, 3),
        "figures": figures,
    }
    _write_json(out / MANIFEST, manifest)
    (out / BEGUN).unlink(missing_ok=True)
    progress.event("end", seconds=manifest["seconds"], figures=figures)
    progress.say(f"done in {manifest['seconds']:.0f} s: {in_words(**figures)}")
    return manifest


def key_of(step: Step, config: TrainingConfig, root: Path) -> str:
    """Of all that a step's outcome follows from. Raises InputFileError for needs not done."""
    told = {
        "format": FORMAT,
        "stage": step.place,
        "seed": config.seed,
        "config": {name: part_of(config, name, step.model) for name in step.stage.sections},
        "inputs": _digests_of_needs(step, root),
        "reads": _digests_of_reads(step),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Of a step that is done; None if it is not."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputFileError(str(folder / MANIFEST), None, f"cannot be read: {error}") from error
    return manifest


def code_version() -> dict[str, str]:
    """The package's version, and the commit where it runs from a checkout."""
    version = importlib.metadata.version("search-sidecar")
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return {"version": version}
    return {"version": version, "commit": commit}


def _begin(out: Path, key: str) -> None:
    """Clears what another key left."""
    begun = out / BEGUN
    if not begun.exists() or json.loads(begun.read_text()).get("key") != key:
        shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    _write_json(begun, {"key": key})


def part_of(config: TrainingConfig, name: str, model: str) -> Any:
    """A section or the value of a key, as plain values; "{model}" in its name is the model's."""
    tree: Any = to_tree(config)
    for part in name.format(model=model).split("."):
        tree = tree[part]
    return tree


def _digests_of_needs(step: Step, root: Path) -> dict[str, str]:
    digests = {}
    for need in step.needs:
        manifest = read_manifest(root / need)
        if manifest is None:
            raise InputFileError(
                str(root / need), None, f"{step.place} needs it: run `sidecar-train run` up to it"
            )
        digests[need] = _digest_of(manifest["outputs"].items())
    return digests


def _digests_of_reads(step: Step) -> dict[str, str]:
    return {str(path): _digest_of(_digests(path, ()).items()) for path in step.reads}


def _digests(path: Path, without: tuple[str, ...]) -> dict[str, str]:
    """Digest by name of the files in a folder, or of the one file."""
    if path.is_file():
        return {path.name: _digest_of_file(path)}
    if not path.is_dir():
        raise InputFileError(str(path), None, "is not there")
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name not in without)
    return {str(file.relative_to(path)): _digest_of_file(file) for file in files}


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(named: Iterable[tuple[str, str]]) -> str:
    return hashlib.sha256(json.dumps(sorted(named)).encode()).hexdigest()


def _write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Replaced whole."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    scratch.replace(path)
