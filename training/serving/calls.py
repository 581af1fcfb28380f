"""Calls to a sidecar: sent again while it asks for that, their errors in one sentence."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import grpc

from sidecar.commands.connection import MAX_MESSAGE_BYTES, to_sidecar_error
from sidecar.simulation.client import asked_pause

T = TypeVar("T")
PATIENCE_SECONDS = 600.0  # a sidecar that is full may have a busy hour


def open_channel(address: str) -> grpc.Channel:
    """A channel that takes answers of any size that a sidecar sends."""
    options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
    return grpc.insecure_channel(address, options)


@contextlib.contextmanager
def told_in_words(address: str) -> Iterator[None]:
    """gRPC errors inside as RefusedError (the caller's mistake) or SidecarError."""
    try:
        yield
    except grpc.RpcError as error:
        raise to_sidecar_error(error, address) from error


def until_taken(call: Callable[[], T]) -> T:
    """The answer of a call; one that is refused for now is sent again when the sidecar says."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            pause = asked_pause(error)
            if not pause or time.monotonic() + pause > give_up:
                raise
            time.sleep(pause)
