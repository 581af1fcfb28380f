"""When a server rolls its log, and that it does so in another process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from feedbacks import HOUR, NOON, an_event, an_id, an_impression, event_ids, in_parquet, submitted

from sidecar.config import FeedbackConfig
from sidecar.metrics import FEEDBACK_ROLLS
from sidecar.storage.feedback import roll_schedule as rollers
from sidecar.storage.feedback.journal import Journal
from sidecar.storage.feedback.roll_schedule import EvenClock, Roller
from sidecar.storage.feedback.rows import to_row


@pytest.fixture
def roller(tmp_path: Path) -> Iterator[Roller]:
    journal = Journal(tmp_path)
    journal.write([to_row(an_impression(1))], [submitted(an_event("e", 1))])
    journal.close()
    opened = Roller(tmp_path, FeedbackConfig(retention_days=0.0))
    yield opened
    opened.close()


def test_what_is_due_is_rolled_by_another_process(roller: Roller, tmp_path: Path) -> None:
    done = FEEDBACK_ROLLS.labels("done")._value.get()
    assert roller.look()
    assert [row["impression_id"] for row in in_parquet(tmp_path, "impressions")] == [an_id(1)]
    assert event_ids(tmp_path) == {"e": 1}
    assert FEEDBACK_ROLLS.labels("done")._value.get() == done + 1
    assert not roller.look()  # nothing is due, and it has tidied up just now


def test_the_server_itself_does_without_pyarrow() -> None:
    call = "import sys, sidecar.server; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", call]).returncode == 0


def test_a_failure_is_told_and_not_repeated_at_once(
    roller: Roller, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "impressions").write_text("in the way")
    assert roller.look()
    assert "it stays in the log" in caplog.text
    assert "impressions" in caplog.text
    assert not roller.look()


def test_nothing_is_removed_while_the_clock_is_in_doubt(
    roller: Roller, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def call(command: list[str]) -> tuple[str, int]:
        commands.append(command)
        return "done", 0

    monkeypatch.setattr(roller, "_call", call)
    assert roller.look()
    monkeypatch.setattr(roller._clock, "is_even", lambda: False)
    assert roller.look()
    assert ["--token-hours" in command for command in commands] == [True, False]
    assert ["--retention-days" in command for command in commands] == [True, False]


def test_a_roller_that_is_closed_starts_nothing(roller: Roller, tmp_path: Path) -> None:
    roller.close()
    roller.close()
    assert roller._call(["false"]) == ("stopped", 1)


class Clocks:
    def __init__(self) -> None:
        self.wall, self.monotonic = float(NOON), 100.0
        self.even = EvenClock(lambda: self.wall, lambda: self.monotonic)

    def go(self, seconds: float, jump: float = 0.0) -> bool:
        self.monotonic += seconds
        self.wall += seconds + jump
        return self.even.is_even()


@pytest.mark.parametrize("jump", [100 * 24 * HOUR, -400.0])
def test_a_clock_that_was_set_is_in_doubt_for_an_hour(jump: float) -> None:
    clocks = Clocks()
    assert clocks.go(60)
    assert not clocks.go(60, jump)
    assert not clocks.go(3590)
    assert clocks.go(20)


def test_a_clock_that_is_corrected_is_in_doubt_from_then_on() -> None:
    clocks = Clocks()
    assert not clocks.go(60, 1e6)
    assert not clocks.go(3590, -1e6)
    assert not clocks.go(3590)
    assert clocks.go(20)


def test_small_corrections_of_the_clock_are_nothing() -> None:
    clocks = Clocks()
    assert all(clocks.go(60, jump) for jump in (2.0, -3.0, 200.0))


def test_it_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    looked = threading.Event()
    monkeypatch.setattr(rollers, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(Roller, "look", lambda self: looked.set() or True)
    roller: Any = Roller(tmp_path, FeedbackConfig())
    assert looked.wait(20)
    roller.close()
