"""What the sidecar is told: all sections and keys, frozen. Reading and checking them is in
config_file.py.

Every section is a dataclass below; every key has a type, a default and a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.errors import ConfigurationError
from sidecar.typed_toml import check_choice, sections, setting
from sidecar.types import LongPassages, Truncation

MAX_RERANK_DEPTH = 1000


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The gRPC server."""

    listen: str = setting("127.0.0.1:50051", "HOST:PORT to serve on; port 0 takes a free one")
    max_message_bytes: int = setting(32 * 1024 * 1024, "largest message received")
    drain_seconds: float = setting(20.0, "time that calls under way get to finish on SIGTERM")
    drain_notice_seconds: float = setting(
        0.0, "time between NOT_SERVING and refusing new calls, for load balancers to notice"
    )
    default_timeout_seconds: float = setting(10.0, "time a call without a deadline gets")
    reply_margin_seconds: float = setting(0.01, "kept back of each deadline for the answer itself")
    max_calls: int = setting(256, "calls under way before further ones get RESOURCE_EXHAUSTED")
    session_queue_requests: int = setting(64, "open requests in one RerankSession before back_off")
    metrics_listen: str = setting(
        "", "HOST:PORT to serve Prometheus metrics on over HTTP; empty: none"
    )


@dataclass(frozen=True, slots=True)
class RecallConfig:
    """How candidates are chosen."""

    lexical_depth: int = setting(200, "candidates of the lexical leg")
    dense_depth: int = setting(200, "candidates of the dense leg")
    fused_depth: int = setting(200, "candidates kept after fusion; never below top_k")
    deadline_share: float = setting(
        0.7,
        "share of the time until the deadline after which a leg that has not answered is left out, "
        "if the other one has",
    )


@dataclass(frozen=True, slots=True)
class FusionConfig:
    """How the two legs become one ranking."""

    method: str = setting("rrf", '"rrf" (reciprocal rank fusion) or "convex" (of min-max scores)')
    rrf_k: float = setting(60.0, "the constant of RRF")
    lexical_weight: float = setting(1.0, "weight of the lexical leg")
    dense_weight: float = setting(1.0, "weight of the dense leg")


@dataclass(frozen=True, slots=True)
class WritesConfig:
    """Writes to collections."""

    request_id_hours: float = setting(
        24.0,
        "time that a write is known by its request id; of a collection, the latest million are",
    )


@dataclass(frozen=True, slots=True)
class DenseIndexConfig:
    """The FAISS index of a collection."""

    kind: str = setting(
        "auto",
        '"auto" (exact, fp16, while there are few, then "ivf"), "flat" (exact, fp32), "fp16" '
        '(exact, half the memory), "ivf" (lists, of which a search reads the nearest) or "hnsw" '
        "(a graph)",
    )
    exact_vectors: int = setting(50_000, 'how many "auto" takes for few')
    ivf_lists: int = setting(0, "inverted lists of an ivf index; 0: by the number of vectors")
    ivf_probes: int = setting(
        0, "lists an ivf search reads; 0: as many as find 99 of the 100 nearest, found out by trial"
    )
    hnsw_links: int = setting(32, "links a node of an hnsw index")
    hnsw_search: int = setting(200, "candidates an hnsw search keeps (efSearch)")
    gpu: str = setting("auto", '"auto": on a GPU where faiss-gpu finds one; "off": never')


@dataclass(frozen=True, slots=True)
class AttributesConfig:
    """The attributes of a collection's documents in memory, for filters and facets."""

    max_bytes: int = setting(
        512 * 1024 * 1024,
        "memory for the attributes of one collection; those that do not fit are asked of the "
        "database, which takes longer",
    )


@dataclass(frozen=True, slots=True)
class BiEncoderConfig:
    """The model that turns texts into vectors."""

    model: str = setting(
        "all-minilm-l6-v2", 'carried name, folder, hub name or "registry:NAME"; "" for none'
    )
    revision: str = setting("", "revision of a hub name; required for one")
    batch_size: int = setting(32, "texts in one batch")
    max_query_tokens: int = setting(64, "query budget")
    max_passage_tokens: int = setting(256, "passage budget")
    vllm_urls: str = setting(
        "", "vLLM servers of this model, separated by commas; empty: run it in this process"
    )


@dataclass(frozen=True, slots=True)
class RerankerConfig:
    """One rerank stage."""

    model: str = setting("", 'carried name, folder, hub name or "registry:NAME"; "" for none')
    revision: str = setting("", "revision of a hub name; required for one")
    depth: int = setting(50, "candidates that the stage scores")
    batch_tokens: int = setting(512, "tokens in one batch, padding included")
    truncation: str = setting("query:64;passage:256", "token budgets of a query and of a passage")
    long_passages: str = setting(
        "cut_tail",
        'passages over budget: "cut_tail", "head_and_tail", "chunk_and_max" or "reject"',
    )
    max_chunks: int = setting(4, "chunks of a passage that chunk_and_max reads")
    weight: float = setting(
        -1.0,
        "share of the model's score against the earlier stage's, 0 to 1; -1: the model's contract",
    )
    vllm_urls: str = setting(
        "", "vLLM servers of this model, separated by commas; empty: run it in this process"
    )
    queue_tokens: int = setting(262_144, "tokens that may wait for the model")
    queue_seconds: float = setting(10.0, "time that a pair may wait for the model")

    def to_truncation(self) -> Truncation:
        """The budgets. Raises ConfigurationError where `truncation` or `long_passages` is wrong."""
        budgets = _parse_budgets(self.truncation)
        check_choice("long_passages", self.long_passages, tuple(LongPassages))
        chosen = LongPassages(self.long_passages)
        return Truncation(budgets["query"], budgets["passage"], chosen, self.max_chunks)


@dataclass(frozen=True, slots=True)
class PlannerConfig:
    """How the time until the deadline is split over the rerank stages."""

    second_share: float = setting(
        0.5, "share of the time that is kept for the second-stage reranker where both do not fit"
    )
    fewest_second: int = setting(
        4,
        "candidates that the second-stage reranker must be able to score, else the first-stage one "
        "gets the time",
    )
    sub_request_candidates: int = setting(16, "candidates that are sent to a model together")
    pace_quantile: float = setting(
        0.75, "quantile of the measured seconds a token that plans are made with"
    )


@dataclass(frozen=True, slots=True)
class AdmissionConfig:
    """Which requests are accepted."""

    backlog_seconds: float = setting(
        30.0,
        "work of accepted requests, in seconds of the models' time; 0: no limit; one caller gets "
        "at most two thirds of it (half for PREFETCH, a fifth for OFFLINE)",
    )
    caller_metadata_key: str = setting(
        "sidecar-caller", "metadata key that says whose share a call counts for"
    )


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """Caches, bounded in bytes; 0 turns one off."""

    score_bytes: int = setting(64 * 1024 * 1024, "scores of pairs")
    vector_bytes: int = setting(32 * 1024 * 1024, "vectors of queries")
    token_bytes: int = setting(64 * 1024 * 1024, "token ids of passages")
    text_bytes: int = setting(128 * 1024 * 1024, "texts that may later be sent by digest alone")


@dataclass(frozen=True, slots=True)
class PagesConfig:
    """Rankings that are kept to be read page by page."""

    max_bytes: int = setting(
        64 * 1024 * 1024, "memory of kept rankings; one of 200 hits takes some 14 KB"
    )
    minutes: float = setting(5.0, "time that a ranking is kept after a page of it was read")


@dataclass(frozen=True, slots=True)
class VllmConfig:
    """Models served by vLLM: those with vllm_urls, and those that `serve --gpu` starts."""

    start: bool = setting(
        False, "start and supervise a vLLM server for each model without vllm_urls (serve --gpu)"
    )
    python: str = setting(
        "", "Python interpreter that has vLLM; empty: the one that runs the sidecar"
    )
    dtype: str = setting("auto", 'of started servers: "auto", "half", "bfloat16" or "float32"')
    bi_encoder_memory: float = setting(
        0.0, "share of the card for the bi-encoder's server; 0: equal"
    )
    first_reranker_memory: float = setting(
        0.0, "share of the card for the first-stage reranker's server; 0: equal"
    )
    second_reranker_memory: float = setting(
        0.0, "share of the card for the second-stage reranker's server; 0: equal"
    )
    max_model_len: int = setting(0, "longest input of a started server; 0: the model's, up to 8192")
    max_num_batched_tokens: int = setting(16_384, "tokens in one step of a started server")
    chat_template: str = setting(
        "",
        "file with the template of a decoder reranker; empty: Qwen3-Reranker's for its family",
    )
    extra_arguments: str = setting("", "further arguments of started servers, as in a shell")
    start_seconds: float = setting(600.0, "time a started server gets until it answers")
    stop_seconds: float = setting(15.0, "time a started server gets to end before it is killed")
    api_key: str = setting("", "key that the servers ask for (their --api-key); empty: none")
    attach_seconds: float = setting(
        10.0, "time at the start that servers get to answer; later they are taken when they do"
    )
    timeout_seconds: float = setting(10.0, "longest time for one answer of a server")
    health_seconds: float = setting(2.0, "time between two health checks of a server")
    health_timeout_seconds: float = setting(5.0, "time a health check may take")
    request_tokens: int = setting(4096, "tokens in one request to a server")
    tokens_in_flight: int = setting(32_768, "tokens under way to one server: what keeps it full")
    golden_tolerance: float = setting(
        0.1, "largest difference of a golden pair's logit (a bi-encoder's cosine: a tenth of it)"
    )


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """How models run on this machine."""

    runtime: str = setting("auto", '"auto" (measured by calibration), "openvino" or "onnxruntime"')
    precision: str = setting("auto", '"auto" (measured by calibration), "fp32", "bf16" or "int8"')
    threads: int = setting(0, "threads a model runs on; 0: as many as the machine has cores")
    score_tolerance: float = setting(
        0.02, "largest difference from fp32, in standard deviations of the calibration scores"
    )
    choice_seconds: float = setting(
        20.0,
        "time after which the calibration of a model at its first start begins nothing further; "
        "0: no limit",
    )


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """What happens to a query in a language that a model does not serve."""

    skip_unserved: bool = setting(
        True, "skip the leg or stage and say so; false: run it all the same"
    )


@dataclass(frozen=True, slots=True)
class FeedbackConfig:
    """What is logged of rankings and of what users do with them."""

    enabled: bool = setting(True, "log the rankings that are answered, and take events")
    exploration_share: float = setting(
        0.0,
        "share of final rankings of which two neighbours are swapped, so that the propensities of "
        "ranks can be learnt; 0.01 to 0.02 is enough",
    )
    token_hours: float = setting(168.0, "time after a ranking in which events of it are taken")
    retention_days: float = setting(90.0, "time that Parquet files are kept; 0: for ever")
    secret: str = setting(
        "",
        "key that tokens and hashes of ids are made with, the same for servers that take one "
        "another's events; empty: one made at the first start and kept beside the data",
    )
    queue_impressions: int = setting(
        10_000, "impressions that may wait to be written before further ones are dropped"
    )
    queue_events: int = setting(
        20_000, "events that may wait to be written before calls get RESOURCE_EXHAUSTED"
    )
    stream_requests: int = setting(
        8, "requests of one LogEventStream that are read ahead of their answers"
    )


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """Where published models are kept. A model named "registry:NAME" is taken from it."""

    url: str = setting(
        "", "folder, or an address that fsspec knows (s3://bucket/path); empty: none"
    )
    follow_seconds: float = setting(
        0.0,
        "time between two looks at the production aliases, which are then followed; 0: changes "
        "come by ModelService only",
    )


@dataclass(frozen=True, slots=True)
class BackupConfig:
    """Where backups of collections are kept."""

    folder: str = setting(
        "", "folder that backups are made below, better on another disk than the data; empty: none"
    )


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """A search engine elsewhere that keeps collections: a section [backends.NAME] for each."""

    kind: str = setting("opensearch", '"opensearch" or "milvus"')
    url: str = setting("", "its address; several nodes of an OpenSearch separated by commas")
    user: str = setting("", "user name; empty: none is asked for")
    password_file: str = setting("", "file with the user's password, or the token")
    ca_file: str = setting("", "file with the certificates to trust; empty: the system's")
    timeout_seconds: float = setting(10.0, "longest time for one answer, that of a leg included")
    shards: int = setting(1, "shards of an index that is created")
    replicas: str = setting("0-1", "copies of each shard; a range: as many as there are nodes for")


@dataclass(frozen=True, slots=True)
class GuardConfig:
    """When a canary is taken away without being asked."""

    least_answers: int = setting(
        200, "answers of the canary before anything is concluded from them"
    )
    failure_margin: float = setting(
        0.02, "how much larger than production's the canary's share of failed answers may be"
    )
    p99_ratio: float = setting(
        1.5, "how many times production's the canary's 99th percentile of times may be; 0: any"
    )
    interleaving: bool = setting(
        True, "take the canary away once interleaved sessions prefer production's rankings"
    )
    quiet_seconds: float = setting(
        60.0,
        "time after its last click from which an interleaved session counts, for good",
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration."""

    server: ServerConfig = ServerConfig()
    recall: RecallConfig = RecallConfig()
    fusion: FusionConfig = FusionConfig()
    writes: WritesConfig = WritesConfig()
    dense_index: DenseIndexConfig = DenseIndexConfig()
    attributes: AttributesConfig = AttributesConfig()
    bi_encoder: BiEncoderConfig = BiEncoderConfig()
    first_reranker: RerankerConfig = RerankerConfig(model="pair-minilm-l3", depth=100)
    second_reranker: RerankerConfig = RerankerConfig(model="pair-minilm-l6", depth=50)
    planner: PlannerConfig = PlannerConfig()
    admission: AdmissionConfig = AdmissionConfig()
    cache: CacheConfig = CacheConfig()
    pages: PagesConfig = PagesConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    vllm: VllmConfig = VllmConfig()
    language: LanguageConfig = LanguageConfig()
    feedback: FeedbackConfig = FeedbackConfig()
    registry: RegistryConfig = RegistryConfig()
    backup: BackupConfig = BackupConfig()
    guard: GuardConfig = GuardConfig()
    backends: Mapping[str, BackendConfig] = sections(BackendConfig)


def _parse_budgets(text: str) -> dict[str, int]:
    """ "query:64;passage:256" as {"query": 64, "passage": 256}."""
    budgets = {}
    for part in text.split(";"):
        name, _, number = part.strip().partition(":")
        if name not in ("query", "passage") or not number.isdecimal() or int(number) < 1:
            raise ConfigurationError(
                f'truncation is {text!r}: give budgets in tokens as "query:64;passage:256"'
            )
        if name in budgets:
            raise ConfigurationError(f"truncation is {text!r}: it names {name} twice")
        budgets[name] = int(number)
    return {"query": 64, "passage": 256, **budgets}
