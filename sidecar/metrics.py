"""What operators see of a running sidecar: Prometheus metrics of all rooms, in the order in which
a call passes them. Served over HTTP where `server.metrics_listen` is configured."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# A search page has 0.1 to 0.3 s: the buckets are finest there.
LATENCY_BUCKETS = (
    *(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3),
    *(0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0),
)

# The edge. `method` is "RerankService/Rerank", `code` the status: "OK", "CANCELLED", ...
CALLS_UNDER_WAY = Gauge("sidecar_calls_under_way", "Calls that are not answered yet", ["method"])
CALL_SECONDS = Histogram(
    "sidecar_call_seconds",
    "Time from a call's request to the end of its answer",
    ["method", "code"],
    buckets=LATENCY_BUCKETS,
)
FINAL_RANKINGS = Counter(
    "sidecar_final_rankings",
    "Final rankings, by the stage that they reached (FIRST_RERANK, ...) and whether degraded",
    ["stage", "degraded"],
)
LOOP_LAG_SECONDS = Gauge(
    "sidecar_loop_lag_seconds", "How late the event loop runs what is due: a high quantile of late"
)

# Admission. `request_class` is INTERACTIVE, PREFETCH or OFFLINE.
ADMITTED_SECONDS = Gauge(
    "sidecar_admitted_seconds", "Work of the accepted requests under way", ["request_class"]
)
REFUSED_REQUESTS = Counter(
    "sidecar_refused_requests", "Requests that admission refused", ["request_class"]
)
