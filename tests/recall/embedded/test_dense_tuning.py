"""When an index is tuned by what was searched for, and by what."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import numpy as np
import pytest

from sidecar.recall.embedded.dense_building import GivenUpError
from sidecar.recall.embedded.dense_tuning import FEWEST, MOST, Tuning


def vector(number: int) -> np.ndarray:
    return np.array([[number, 1.0]], np.float32)


class Told:
    """What a Tuning was told, each time."""

    def __init__(self) -> None:
        self.times: list[list[int]] = []

    def __call__(self, vectors: np.ndarray, check: Callable[[], None]) -> None:
        check()
        self.times.append(vectors[:, 0].astype(int).tolist())


def note(tuning: Tuning, numbers: range) -> None:
    for number in numbers:
        tuning.note(vector(number))
        tuning.wait(60.0)


def test_it_is_tuned_by_the_last_ones_as_soon_as_there_are_enough_and_then_ever_less_often():
    told = Told()
    tuning = Tuning(told, "m")
    note(tuning, range(FEWEST - 1))
    note(tuning, range(FEWEST - 1))  # the same again
    assert told.times == []
    note(tuning, range(FEWEST - 1, 5 * FEWEST))
    lasts = [FEWEST, 2 * FEWEST, 4 * FEWEST]
    assert told.times == [list(range(max(0, last - MOST), last)) for last in lasts]


def test_another_index_is_tuned_at_once():
    told = Told()
    tuning = Tuning(told, "m")
    note(tuning, range(FEWEST + 1))
    tuning.restart()
    note(tuning, range(FEWEST + 1, FEWEST + 2))
    assert [len(each) for each in told.times] == [FEWEST, FEWEST + 2]


def test_one_is_at_work_at_a_time_and_ends_when_it_is_closed():
    begun, ended, times = threading.Event(), threading.Event(), []

    def tune(vectors: np.ndarray, check: Callable[[], None]) -> None:
        times.append(len(vectors))
        begun.set()
        try:
            while not ended.wait(0.001):
                check()
        except GivenUpError:
            ended.set()
            raise

    tuning = Tuning(tune, "m")
    for number in range(10 * FEWEST):
        tuning.note(vector(number))
    assert begun.wait(60.0)
    tuning.close()
    assert ended.is_set()
    assert times == [FEWEST]


def test_one_that_fails_is_said_and_is_tried_again(caplog: pytest.LogCaptureFixture):
    def tune(vectors: np.ndarray, check: Callable[[], None]) -> None:
        raise MemoryError("no room")

    tuning = Tuning(tune, "m")
    with caplog.at_level(logging.WARNING):
        note(tuning, range(2 * FEWEST))
    assert caplog.text.count("not tuned by what was searched for: MemoryError('no room')") == 2
