"""Servers and commands of the tests beside this file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sidecar_process import WITHOUT_MODELS, Serving, run_sidecar, serving


@pytest.fixture(scope="session")
def sidecar() -> Callable[..., object]:
    """Runs one command to its end."""
    return run_sidecar


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server that all tests of a module share."""
    with serving(tmp_path_factory.mktemp("serving")) as started:
        yield started


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., contextlib.AbstractContextManager[Serving]]:
    """Starts servers over the test's own data."""

    def start(configuration: str = WITHOUT_MODELS) -> contextlib.AbstractContextManager[Serving]:
        return serving(tmp_path, configuration)

    return start
