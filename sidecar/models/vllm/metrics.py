"""What operations see of the servers of models, by the model's name and the server's URL."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

REPLICA_UP = Gauge(
    "sidecar_vllm_replica_up",
    "1 if a server answers and reproduces the golden pairs",
    ("model", "replica"),
)
TOKENS_IN_FLIGHT = Gauge(
    "sidecar_vllm_in_flight_tokens", "tokens under way to a server", ("model", "replica")
)
REQUESTS = Counter(
    "sidecar_vllm_requests",
    "requests by what became of them: answered, abandoned or a fault",
    ("model", "replica", "outcome"),
)
WRONG_SCORES = Counter(
    "sidecar_vllm_wrong_scores",
    "checks in which a server did not reproduce the golden pairs",
    ("model", "replica"),
)
RESTARTS = Counter("sidecar_vllm_restarts", "servers that died and were started again", ("model",))
