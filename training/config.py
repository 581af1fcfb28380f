"""What a run is told: all sections and keys. Reading and checking them is in config_file.py.

Every section is a dataclass below; every key has a type, a default and a sentence, and is written
resolved into the run's folder. There are no hyper-parameters elsewhere, none in the environment.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from sidecar.typed_toml import setting

MODELS = ("bi_encoder", "reranker")
BI_ENCODER, RERANKER = MODELS
ESTIMATORS = ("auto", "none", "power", "harvest", "pbm", "trust", "cascade", "dcm", "file")
METHODS = ("full", "lora", "qlora", "prefix")
PAIR_LOSSES = (
    "listwise_softmax",
    "binary_cross_entropy",
    "lambda_loss",
    "margin_ranking",
    "rank_net",
    "distillation",
    "margin_mse",
    "rerank_and_classify",
)
GRADED_LOSSES = ("listwise_softmax", "binary_cross_entropy")  # take each gain for what it is
BY_SIZE = -1.0  # a learning rate that is chosen
MOST_RECALLED = 1000  # hits that a sidecar answers with
VECTOR_LOSSES = ("info_nce", "margin_mse", "distillation", "listwise_softmax")
TAUGHT_LOSSES = ("margin_mse", "distillation")


@dataclass(frozen=True, slots=True)
class SidecarConfig:
    """The sidecar that is to get better: its recall is mined, its models are changed."""

    address: str = setting("", "HOST:PORT; empty: none runs, recall is over collect.corpus")
    collection: str = setting("", "the collection whose rankings are learnt from")
    timeout_seconds: float = setting(60.0, "deadline of a call")
    configuration: str = setting(
        "", "its configuration in TOML, by which models are evaluated; empty: the defaults"
    )


@dataclass(frozen=True, slots=True)
class CollectConfig:
    """What goes in."""

    feedback: tuple[str, ...] = setting(
        (), "folders of the sidecar's feedback log (DATA/feedback), or .jsonl files of impressions"
    )
    judgments: tuple[str, ...] = setting(
        (),
        "labelled examples: BEIR folders (FOLDER or FOLDER:SPLIT), TREC qrels, or .jsonl, .json, "
        ".csv, .tsv and .parquet files of query/positive/negatives, pairs with scores, grades or "
        "lists; NAME=PATH says which format it is",
    )
    grade_names: tuple[str, ...] = setting(
        (), "names of grades in labelled examples, from worst to best, where labels are words"
    )
    synthetic: bool = setting(
        False, "all that goes in is made up, and marked so (what `generate` wrote is anyway)"
    )
    corpus: str = setting(
        "",
        "corpus.jsonl or a BEIR folder: the documents; those that come with labelled examples are "
        "added, an id that several files have is the first one's document; what no file has is "
        "asked from the sidecar by id",
    )
    most_lost_share: float = setting(
        0.5, "of judged pairs whose documents no corpus has; more end the run; 1: never"
    )
    drop_personal: bool = setting(
        True, "leave out queries with e-mail addresses, telephone, card or account numbers"
    )
    most_impressions_a_minute: float = setting(
        30.0, "sessions that ask faster are bots and left out; 0: none are"
    )
    most_clicks_share: float = setting(
        0.9, "sessions of ten impressions or more that click more of what they saw are bots; 0: any"
    )
    most_query_characters: int = setting(512, "longer queries are left out")
    dev_share: float = setting(0.1, "queries held out to choose checkpoints and weights on")
    test_share: float = setting(0.2, "queries held out to evaluate on")


@dataclass(frozen=True, slots=True)
class PropensityConfig:
    """How examination is estimated."""

    estimator: str = setting(
        "auto", '"auto", "none", "power", "harvest", "pbm", "trust", "cascade", "dcm" or "file"'
    )
    file: str = setting("", "propensities by rank, as an earlier run wrote them, for file")


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """How events become labels."""

    liked_dwell_seconds: float = setting(30.0, "stay from which a click is a like")
    least_skips: float = setting(1.0, "times passed over, never clicked, that make a negative")
    least_impressions: float = setting(2.0, "pairs shown less get no label, unless ordered")
    half_life_days: float = setting(90.0, "age at which an impression counts half; 0: never")
    prior_examinations: float = setting(
        0.0, "examinations that a relevance is shrunk by; 0: as the log itself tells"
    )
    least_propensity: float = setting(0.02, "smaller propensities are raised to it")
    best_event_examinations: float = setting(
        30.0, "examinations until which the best event of a pair says more than its rate of clicks"
    )
    least_gain: float = setting(
        0.0, "relevance by clicks (0 to 1) below which a pair that was clicked is no positive"
    )


@dataclass(frozen=True, slots=True)
class MineConfig:
    """Which documents a model learns to rank low."""

    negatives: int = setting(7, "in each list")
    most_queries: int = setting(0, "that lists are made of, drawn by the seed; 0: all")
    depth: int = setting(100, "candidates that are recalled a query")
    first_rank: int = setting(1, "rank from which recalled documents are taken")
    last_rank: int = setting(100, "rank up to which they are taken")
    hard_share: float = setting(0.5, "of the negatives that are recalled ones")
    skipped_share: float = setting(0.25, "that were passed over by users; too few: hard ones")
    random_share: float = setting(0.25, "that are drawn from all documents")
    relative_margin: float = setting(
        0.05, "recalled documents that score above (1 - margin) x the best positive are left out"
    )
    teacher_margin: float = setting(
        0.0,
        "negatives that the teacher, if there is one, scores above its best positive less this are "
        "left out; -1: none are",
    )
    near_duplicate: float = setting(
        0.9, "those that share so much of a positive's text (Jaccard of 3-shingles) are left out"
    )
    most_positives: int = setting(4, "positives in each list, the best")
    shown: int = setting(
        12,
        "reranker with listwise_softmax or binary_cross_entropy: shown documents in lists of "
        "queries that users asked, each with what the log lets expect of it; 0: clicked and passed "
        "over ones only",
    )
    dev_candidates: int = setting(30, "recalled ones in each dev list: what checkpoints rank")
    queries_at_once: int = setting(8, "recalled at a time")


@dataclass(frozen=True, slots=True)
class FineTuneConfig:
    """How one model is trained."""

    train: bool = setting(True, "false: the model stays as it is")
    base: str = setting(
        "",
        'what training begins with: a carried name, a folder, "registry:NAME" (its production '
        "version); empty: the one that the sidecar serves, or the carried one",
    )
    new_head: bool = setting(
        False,
        "the base has no reranker's head, a new one is trained (of a language model: its rows for "
        "yes and no)",
    )
    role: str = setting(
        "second_reranker", "whose place it takes (a reranker: first_reranker or second_reranker)"
    )
    loss: str = setting(
        "",
        "bi-encoder: info_nce (default), margin_mse, distillation, listwise_softmax; reranker: "
        "listwise_softmax (default), binary_cross_entropy, lambda_loss, margin_ranking, rank_net, "
        "distillation, margin_mse, rerank_and_classify",
    )
    temperature: float = setting(0.0, "of the loss; 0: its own (info_nce .05, distillation 3)")
    margin: float = setting(0.3, "of margin_ranking")
    rank_weight: float = setting(0.0, "of RankNet beside distillation (kl+rank)")
    class_weight: float = setting(0.3, "of the classification in rerank_and_classify")
    false_negative_margin: float = setting(
        0.1, "info_nce leaves out negatives that are so much nearer than the positive; -1: none"
    )
    widths: tuple[int, ...] = setting(
        (), "Matryoshka: numbers of leading dimensions that have to do as vectors, too"
    )
    teacher: str = setting("", "cross-encoder that scores the lists, for margin_mse, distillation")
    method: str = setting("full", '"full", "lora", "qlora" or "prefix"')
    lora_rank: int = setting(16, "of the adapter's matrices")
    lora_alpha: float = setting(32.0, "the adapter counts alpha / rank")
    lora_dropout: float = setting(0.1, "before the adapter")
    lora_targets: tuple[str, ...] = setting((), "names of adapted layers; empty: all linear ones")
    prefix_tokens: int = setting(16, "virtual tokens of prefix tuning")
    epochs: float = setting(2.0, "over the lists")
    max_steps: int = setting(0, "ends training earlier; 0: epochs alone do")
    lists_per_step: int = setting(32, "queries with their candidates that make one update")
    accumulation: int = setting(1, "steps whose gradients are added before an update")
    learning_rate: float = setting(
        BY_SIZE,
        "at its highest; -1: for a base of at most 50 million weights 1e-4 (bi-encoder) or 5e-5 "
        "(reranker), 2e-5 for a larger one, 2e-4 for an adapter or a prefix",
    )
    schedule: str = setting("linear", '"linear", "cosine" or "constant" after the warm-up')
    warmup_share: float = setting(0.1, "of the steps")
    weight_decay: float = setting(0.01, "of AdamW, not on biases and norms")
    most_gradient_norm: float = setting(1.0, "gradients are scaled down to it")
    dropout: float = setting(
        -1.0, "while training; -1: the base's. Without any, a CPU trains a fifth faster"
    )
    train_embeddings: bool = setting(
        True, "false: word embeddings stay as they are: less memory, a CPU trains faster"
    )
    precision: str = setting("auto", '"auto", "fp32", "bf16" or "fp16"')
    checkpointing: bool = setting(False, "keep no activations inside layers: less memory, slower")
    gradient_cache: str = setting(
        "auto", '"on", "off", or "auto": once memory does not do without it'
    )
    chunk_tokens: int = setting(
        8192,
        "tokens read at once, padding included; halved if too many (a CPU reads 1024 or less)",
    )
    query_tokens: int = setting(0, "query budget; 0: the base's")
    passage_tokens: int = setting(0, "passage budget; 0: the base's")
    evaluations: int = setting(8, "looks at the dev queries in a run")
    patience: int = setting(
        3, "looks in a row with a surely worse nDCG@10 than the best that end training; 0: none do"
    )
    checkpoints: int = setting(2, "kept, the best one besides")
    base_shares: tuple[float, ...] = setting(
        (0.0, 0.25, 0.5),
        "shares of the base's weights that are tried in the trained ones; the least stays that dev "
        "lists do not tell from the best",
    )
    workers: int = setting(0, "processes that tokenize; 0: this one")
    processes: int = setting(1, "that train together on this machine, one a GPU (torchrun)")
    deepspeed: str = setting("", "a DeepSpeed configuration, handed to transformers")
    fsdp: str = setting("", "FSDP options, handed to transformers")
    mine: MineConfig = MineConfig()


@dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """What is measured."""

    judged: str = setting(
        "", "BEIR folder (FOLDER or FOLDER:SPLIT) of judged queries; empty: test queries of the log"
    )
    measures: tuple[str, ...] = setting(
        ("nDCG@10", "nDCG@3", "RR@10", "AP", "R@100", "Hit@1", "P@10"), "the first is primary"
    )
    rerank_depth: int = setting(50, "candidates that the reranker reads in rerank-only")
    most_queries: int = setting(0, "measured, drawn by the seed; 0: all")
    head_share: float = setting(0.2, "queries asked most, which make the slice head")
    worst_queries: int = setting(50, "in errors.jsonl")
    zero_shot: bool = setting(True, "measure the base, too")
    latency_requests: int = setting(200, "timed for each of both models, alternating")


@dataclass(frozen=True, slots=True)
class GateConfig:
    """What is asked of a candidate (see training/evaluation/rules.py); -1 switches a check off."""

    alpha: float = setting(0.05, "largest p of the primary measure's gain")
    least_gain: float = setting(
        0.003, "of the primary measure; two runs of one training differ by so much"
    )
    guards: tuple[str, ...] = setting(
        (),
        'slices and their tolerances, "head:0.01"; "last:0.01" is the ranking after all stages, '
        '"recall:0.01" what recall finds',
    )
    least_guarded_queries: int = setting(50, "smaller slices are refused")
    latency_ratio: float = setting(1.1, "most of production's p99")
    latency_milliseconds: float = setting(-1.0, "most, absolute")
    rank_correlation: float = setting(0.995, "least, of exported and trained scores")
    measure_difference: float = setting(0.005, "most, between exported and trained")


@dataclass(frozen=True, slots=True)
class ExportConfig:
    """What is written for serving."""

    formats: tuple[str, ...] = setting(
        ("onnx", "transformers"), "onnx (8-bit weights, for the CPU) and transformers (safetensors)"
    )
    golden_pairs: int = setting(16, "in the contract, drawn from dev queries and their candidates")
    parity_pairs: int = setting(200, "scored by both, trained and served")
    calibrate: bool = setting(True, "fit probabilities on dev queries")
    choose_weight: bool = setting(
        True, "choose the share of the reranker's score against the stage before on dev queries"
    )


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """Where an accepted model goes."""

    registry: str = setting("", "folder or address of the registry; empty: nothing is published")
    bi_encoder: str = setting("all-minilm", "name of the bi-encoder there")
    reranker: str = setting("pair-minilm", "name of the reranker there")
    to: str = setting(
        "canary", '"version" (only published), "canary" or "production" (the sidecar is told)'
    )
    share: float = setting(0.1, "of sessions that a canary answers")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A whole run."""

    seed: int = setting(0, "what is drawn follows from it")
    sidecar: SidecarConfig = SidecarConfig()
    collect: CollectConfig = CollectConfig()
    propensity: PropensityConfig = PropensityConfig()
    label: LabelConfig = LabelConfig()
    bi_encoder: FineTuneConfig = FineTuneConfig(loss="info_nce", role="bi_encoder")
    reranker: FineTuneConfig = FineTuneConfig(loss="listwise_softmax")
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    export: ExportConfig = ExportConfig()
    publish: PublishConfig = PublishConfig()

    def fine_tune(self, model: str) -> FineTuneConfig:
        """The section of one of MODELS."""
        section: FineTuneConfig = getattr(self, model)
        return section


def to_tree(config: TrainingConfig) -> dict[str, Any]:
    """The resolved configuration as plain values, as manifests keep it."""
    return dataclasses.asdict(config)
