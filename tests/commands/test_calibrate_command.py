"""`sidecar calibrate` takes the time it needs, or what it is given, and says what was not tried."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.__main__ import main
from sidecar.config import Config
from sidecar.models.runtime_choice import OUT_OF_TIME, TrialRow


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that models were given; nothing is measured."""
    seconds = []

    def choose_runtimes(config: Config, data_dir: Path) -> Iterator[TrialRow]:
        seconds.append(config.runtime.choice_seconds)
        yield TrialRow("m", "1", "openvino", "fp32", "latency", 0.0, 0.0, math.inf, OUT_OF_TIME)

    monkeypatch.setattr("sidecar.commands.calibrate.choose_runtimes", choose_runtimes)
    return seconds


@pytest.mark.parametrize(("arguments", "expected"), [([], 0.0), (["--seconds", "2.5"], 2.5)])
def test_the_configured_time_is_that_of_a_start(
    allowed: list[float],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: float,
) -> None:
    assert main(["calibrate", "--data", str(tmp_path), *arguments]) == 0
    assert allowed == [expected]
    assert capsys.readouterr().out.splitlines()[1].endswith("inf  not tried: out of time")


@pytest.mark.parametrize("seconds", ["-1", "nan", "x"])
def test_a_time_that_is_none_is_refused(
    allowed: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", "--data", str(tmp_path), "--seconds", seconds])
    assert "--seconds" in capsys.readouterr().err
    assert allowed == []
