"""Whoever computes scores yields to the event loop."""

import os
import sys
import threading
from pathlib import Path

import pytest

from sidecar.models import workers
from sidecar.models.hub import CARRIED
from sidecar.models.openvino_runtime import OpenVinoRuntime
from sidecar.models.runtime import Choice
from sidecar.models.workers import NICENESS, model_workers, yield_to_others

linux = pytest.mark.skipif(sys.platform != "linux", reason="threads have nice values on Linux only")


def own_niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def threads() -> set[int]:
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


@linux
def test_model_threads_are_nicer_than_the_event_loop() -> None:
    expected = min(19, own_niceness() + NICENESS)
    assert model_workers().submit(own_niceness).result() == expected
    assert model_workers() is model_workers()


@linux
def test_what_a_runtime_starts_in_them_is_as_nice() -> None:
    before = threads()
    path, choice = CARRIED / "pair-minilm-l3" / "model.onnx", Choice("openvino", "fp32")
    runtime = model_workers().submit(OpenVinoRuntime, path, choice, 2).result()
    started = threads() - before
    found = {os.getpriority(os.PRIO_PROCESS, thread) for thread in started}
    assert found <= {min(19, own_niceness() + NICENESS)}
    runtime.close()


def test_where_it_is_not_allowed_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError("not permitted")

    monkeypatch.setattr(workers.os, "setpriority", refuse)
    before = own_niceness()
    yield_to_others()
    assert own_niceness() == before
