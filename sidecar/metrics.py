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
    "sidecar_loop_lag_seconds",
    "How late the event loop runs what is due: the 99 % quantile of late",
)

# Admission. `request_class` is INTERACTIVE, PREFETCH or OFFLINE.
ADMITTED_SECONDS = Gauge(
    "sidecar_admitted_seconds", "Work of the accepted requests under way", ["request_class"]
)
REFUSED_REQUESTS = Counter(
    "sidecar_refused_requests", "Requests that admission refused", ["request_class"]
)

# A reranker's queue and batches. `stage` is FIRST_RERANK or SECOND_RERANK, `model` the contract's
# name.
_MODEL = ("stage", "model")
_MODEL_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_FILL_BUCKETS = tuple(tenths / 10 for tenths in range(1, 11))
QUEUE_PAIRS = Gauge("sidecar_queue_pairs", "Pairs that wait for a model.", _MODEL)
QUEUE_TOKENS = Gauge("sidecar_queue_tokens", "Tokens that wait for a model.", _MODEL)
QUEUE_WAIT = Histogram(
    "sidecar_queue_wait_seconds",
    "Time from a request's arrival until the model begins with its first pair.",
    _MODEL,
    buckets=_MODEL_BUCKETS,
)
BATCHES = Counter("sidecar_batches", "Batches that a model was given.", _MODEL)
BATCH_SECONDS = Histogram(
    "sidecar_batch_seconds", "Time a model took for a batch.", _MODEL, buckets=_MODEL_BUCKETS
)
BATCH_FILL = Histogram(
    "sidecar_batch_fill_ratio",
    "Tokens of a batch, padding included, over the most that one may have.",
    _MODEL,
    buckets=_FILL_BUCKETS,
)
BATCH_TOKENS = Counter("sidecar_batch_tokens", "Tokens of pairs in batches.", _MODEL)
PADDED_TOKENS = Counter("sidecar_padded_tokens", "The same, padding included.", _MODEL)
SCORED_PAIRS = Counter("sidecar_scored_pairs", "Pairs that got a score.", _MODEL)
FAILED_PAIRS = Counter(
    "sidecar_failed_pairs", "Pairs that the model failed on when they stood alone.", _MODEL
)
FAILED_BATCHES = Counter(
    "sidecar_failed_batches",
    'Batches without a score; `cause` is "error", "nan", "unavailable" or "stalled".',
    (*_MODEL, "cause"),
)
CANCELLED_PAIRS = Counter(
    "sidecar_cancelled_pairs", "Pairs whose batch was cancelled, since nobody waited.", _MODEL
)
WASTED_PAIRS = Counter(
    "sidecar_wasted_pairs", "Pairs that were scored though nobody waited any more.", _MODEL
)
BREAKER_STATE = Gauge(
    "sidecar_breaker_state", "0: the model is asked, 1: it is tried, 2: it is not asked.", _MODEL
)

# Caches. `cache` is "scores", "vectors", "tokens" or "texts".
CACHE_HITS = Counter("sidecar_cache_hits", "Entries found in a cache.", ("cache",))
CACHE_MISSES = Counter("sidecar_cache_misses", "Entries not found in a cache.", ("cache",))
CACHE_BYTES = Gauge("sidecar_cache_bytes", "What the entries of a cache take.", ("cache",))

# Models that vLLM serves. `replica` is the server's URL; `outcome` is "answered", "abandoned" or a
# fault: "refused", "failed", "full", "gone", "slow".
_REPLICA = ("model", "replica")
REPLICA_UP = Gauge(
    "sidecar_vllm_replica_up", "1 if a server answers and has the model's golden scores.", _REPLICA
)
REPLICA_TOKENS = Gauge("sidecar_vllm_in_flight_tokens", "Tokens under way to a server.", _REPLICA)
REPLICA_REQUESTS = Counter("sidecar_vllm_requests", "Requests to a server.", (*_REPLICA, "outcome"))
WRONG_REPLICAS = Counter(
    "sidecar_vllm_wrong_scores", "Checks in which a server had not the golden scores.", _REPLICA
)
SERVER_RESTARTS = Counter(
    "sidecar_vllm_restarts",
    "Servers of this sidecar's own that ended and were started again.",
    ("model",),
)

# Feedback. `status` is ACCEPTED, DUPLICATE or REFUSED, `refusal` why, else NONE.
FEEDBACK_IMPRESSIONS = Counter(
    "sidecar_feedback_impressions",
    'Rankings that were answered; `outcome` is "logged", or "dropped" where too many waited.',
    ("outcome",),
)
FEEDBACK_WAITING = Gauge(
    "sidecar_feedback_waiting_impressions", "Impressions that wait to be written."
)
FEEDBACK_EVENTS = Counter(
    "sidecar_feedback_events", "Events that were sent.", ("status", "refusal")
)
FEEDBACK_COMMIT_SECONDS = Histogram(
    "sidecar_feedback_commit_seconds",
    "Time a transaction of the feedback log took, until it was durable.",
    buckets=_MODEL_BUCKETS,
)
FEEDBACK_ROLLS = Counter(
    "sidecar_feedback_rolls", 'Runs that roll the log to Parquet, "done" or "failed".', ("outcome",)
)
