"""Addresses to listen on: reading them, and saying why one cannot be had."""

from __future__ import annotations

import socket

from sidecar.errors import ConfigurationError


def to_address(key: str, listen: str, example: str) -> tuple[str, int]:
    """Host and port of the HOST:PORT that is configured under `key`. Raises ConfigurationError if
    it is none, or if it is not free."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"{key} is {listen!r}: give HOST:PORT, such as {example}")
    _check_free(key, host, int(port), listen)
    return host, int(port)


def _check_free(key: str, host: str, port: int, listen: str) -> None:
    """Raises ConfigurationError with the system's reason, which servers keep to themselves."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigurationError(
            f"{listen} cannot be served on: {error.strerror}; set {key} to another address"
        ) from error
