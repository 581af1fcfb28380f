"""What a dry run says: held against what the run then does."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import InputFileError
from training.config import LabelConfig, PropensityConfig, TrainingConfig
from training.foresight import AFTER_ANOTHER, AGAIN, KEPT, RUNS, TAKEN_UP, foreseen
from training.progress import Progress
from training.stage import Stage, Step, Work, run_step


def _leave(work: Work) -> Mapping[str, Any]:
    if (work.root / "stop").exists():
        raise KeyboardInterrupt
    (work.out / "made.txt").write_text(work.config.label.least_skips.hex())
    return {}


def steps(root: Path) -> list[Step]:
    """The second reads the first, and a file from outside."""
    first = Stage("first", "leaves a file", _leave, ("label", "propensity"))
    second = Stage("second", "leaves another", _leave, ("label",))
    return [Step(first, "", ()), Step(second, "", ("first",), (root.parent / "given.txt",))]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "given.txt").write_text("a")
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def told(root: Path, config: TrainingConfig | None = None) -> list[str]:
    return [fate for _, fate in foreseen(steps(root), config or TrainingConfig(), root)]


def run(root: Path, config: TrainingConfig | None = None) -> list[bool]:
    """Which of the steps were kept."""
    said = io.StringIO()
    for step in steps(root):
        run_step(step, config or TrainingConfig(), root, Progress(None, step.place, said))
    return ["done already" in line for line in said.getvalue().splitlines()]


def test_a_run_from_its_beginning(root: Path) -> None:
    assert told(root) == [RUNS, RUNS]
    assert not list(root.iterdir())  # nothing was done
    assert run(root) == [False, False]
    assert told(root) == [KEPT, KEPT]
    assert run(root) == [True, True]


def test_other_keys_and_another_file(root: Path) -> None:
    run(root)
    other = TrainingConfig(label=LabelConfig(least_skips=3.0))
    assert told(root, other) == [AGAIN, AFTER_ANOTHER]
    assert run(root, other) == [False, False]
    (root.parent / "given.txt").write_text("b")
    assert told(root, other) == [KEPT, AGAIN]
    assert run(root, other) == [True, False]


def test_a_step_whose_input_comes_out_the_same(root: Path) -> None:
    run(root)
    other = TrainingConfig(propensity=PropensityConfig(estimator="none"))
    assert told(root, other) == [AGAIN, AFTER_ANOTHER]
    assert run(root, other) == [False, True]


def test_a_step_that_was_cut_short(root: Path) -> None:
    run(root)
    (root / "second" / "manifest.json").unlink()
    (root / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        run(root)
    assert told(root) == [KEPT, TAKEN_UP]
    (root.parent / "given.txt").write_text("b")
    assert told(root) == [KEPT, RUNS]


def test_what_is_not_there(root: Path) -> None:
    run(root)
    (root.parent / "given.txt").unlink()
    with pytest.raises(InputFileError, match="is not there"):
        told(root)
