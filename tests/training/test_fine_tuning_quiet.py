"""Nothing of the libraries' own stands between a run's lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from transformers.utils import logging

from sidecar.models.hub import CARRIED
from training.__main__ import main
from training.fine_tuning.adapters import with_adapter
from training.fine_tuning.fit import Fitted
from training.fine_tuning.job import write_trained

from .toy_lists import cross_encoder, settings


@pytest.fixture(autouse=True)
def progress_bars() -> Iterator[None]:
    """As on a terminal, whatever this machine's environment says."""
    shown = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    yield
    if not shown:
        logging.disable_progress_bar()


def test_the_library_would_say_something(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cross_encoder().model.save_pretrained(tmp_path)
    assert "Writing model shards" in capfd.readouterr().err


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_trained_model_is_written_silently(
    method: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    opened = cross_encoder()
    model = with_adapter(opened.model, settings(method=method), "cross-encoder")
    write_trained(Fitted(model, {"steps": 0}), opened, tmp_path)
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()


def test_a_carried_model_is_written_silently(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["to-transformers", str(CARRIED / "pair-minilm-l6"), str(tmp_path / "out")]) == 0
    assert capfd.readouterr() == ("", "")
