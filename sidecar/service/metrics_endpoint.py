"""The metrics over HTTP, in a thread of their own: they are there when the event loop is late."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from prometheus_client import start_http_server

from sidecar.errors import ConfigurationError
from sidecar.service.listening import to_address

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def serving_metrics(listen: str) -> Iterator[str]:
    """Serves http://HOST:PORT/metrics, and gives back HOST:PORT with the port that was taken; ""
    where `listen` is empty. Raises ConfigurationError if the address cannot be served on."""
    if not listen:
        yield ""
        return
    host, port = to_address("server.metrics_listen", listen, "127.0.0.1:9464")
    try:
        server, thread = start_http_server(port, host.strip("[]"))
    except OSError as error:
        raise ConfigurationError(f"{listen} cannot be served on: {error.strerror}") from error
    address = f"{host}:{server.server_port}"
    _logger.info("metrics on http://%s/metrics", address)
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
