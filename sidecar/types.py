"""The plain values that travel through a search: no I/O, no protobuf, no numpy arrays of scores.

Query -> Candidate (one leg's answer) -> Ranking (after each stage) -> the wire.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

AttributeScalar = str | int | float | bool | datetime
Attribute = AttributeScalar | tuple[str, ...]


class Stage(enum.IntEnum):
    """A step on the way of a search, in the order in which a search passes them."""

    INPUT = 1
    LEXICAL = 2
    DENSE = 3
    FUSED = 4
    FIRST_RERANK = 5
    SECOND_RERANK = 6


class StageState(enum.IntEnum):
    """How a stage ended."""

    COMPLETE = 1
    SKIPPED = 2
    FAILED = 3
    PARTIAL = 4


class StageReason(enum.IntEnum):
    """Why a stage was skipped, failed or partial; NONE for a complete one."""

    NONE = 0
    NOT_REQUESTED = 1
    NOT_CONFIGURED = 2
    LANGUAGE_NOT_SERVED = 3
    NO_CANDIDATES = 4
    DEADLINE = 5
    MODEL_FAILED = 6
    INDEX_UNAVAILABLE = 7
    NO_QUERY_TERMS = 8
    OVERLOADED = 9
    MODEL_UNAVAILABLE = 10
    SHARDS_MISSING = 11

    @property
    def leaves_answer_whole(self) -> bool:
        """Whether it lies in the request or the configuration: without the stage nothing lacks."""
        return self in _LEAVING_ANSWER_WHOLE

    @property
    def is_failure(self) -> bool:
        """Whether a stage that ends so has failed rather than been skipped, whenever it ends."""
        return self in (
            StageReason.MODEL_FAILED,
            StageReason.MODEL_UNAVAILABLE,
            StageReason.INDEX_UNAVAILABLE,
        )


_LEAVING_ANSWER_WHOLE = frozenset(
    {
        StageReason.NONE,
        StageReason.NOT_REQUESTED,
        StageReason.NOT_CONFIGURED,
        StageReason.NO_CANDIDATES,
        StageReason.NO_QUERY_TERMS,
    }
)


class HitState(enum.IntEnum):
    """Whether the stage that the ranking reached scored a hit."""

    SCORED = 1
    TRUNCATED = 2
    UNSCORED = 3


class UnscoredReason(enum.IntEnum):
    """Why a hit is UNSCORED; NONE for a scored one."""

    NONE = 0
    BEYOND_DEPTH = 1
    EMPTY_TEXT = 2
    NOT_FINITE = 3
    TOO_LONG = 4
    NEEDS_TEXT = 5
    DEADLINE = 6


class LongPassages(enum.StrEnum):
    """What happens to a passage that exceeds its token budget."""

    CUT_TAIL = "cut_tail"
    HEAD_AND_TAIL = "head_and_tail"
    CHUNK_AND_MAX = "chunk_and_max"
    REJECT = "reject"


class RequestClass(enum.IntEnum):
    """Who waits for an answer; a lower one is served first."""

    INTERACTIVE = 1
    PREFETCH = 2
    OFFLINE = 3


@dataclass(frozen=True, slots=True)
class Truncation:
    """Budgets of a query and a passage in their own tokens, and what happens beyond them.

    `max_chunks` is how many chunks of the passage's budget CHUNK_AND_MAX reads at most.
    """

    max_query_tokens: int = 64
    max_passage_tokens: int = 256
    long_passages: LongPassages = LongPassages.CUT_TAIL
    max_chunks: int = 4


class AttributeType(enum.StrEnum):
    """Declared type of an attribute."""

    STRING = "string"
    INTEGER = "integer"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"
    STRING_LIST = "string_list"


@dataclass(frozen=True, slots=True)
class TextField:
    """A named text of every document and the name of the analyzer that reads it."""

    name: str
    analyzer: str = "english"


@dataclass(frozen=True, slots=True)
class AttributeField:
    """A named typed value of every document."""

    name: str
    type: AttributeType


@dataclass(frozen=True, slots=True)
class Schema:
    """What the documents of a collection are made of."""

    text_fields: tuple[TextField, ...] = (TextField("title"), TextField("text"))
    attributes: tuple[AttributeField, ...] = ()

    def attribute_types(self) -> dict[str, AttributeType]:
        """Types by attribute name."""
        return {attribute.name: attribute.type for attribute in self.attributes}


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Where an index that exists keeps a text field or attribute (`name`), or the "vector"."""

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class Backend:
    """Where another server keeps a collection: the name of its configuration, the index there.

    Without a `mapping` the index is the sidecar's own. `read_only`: others write it.
    """

    name: str
    index: str
    mapping: tuple[FieldMapping, ...] = ()
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Document:
    """The stored unit. `vector`, if given, has the bi-encoder's dimensions and any length but 0.

    `version` is the sequence number of the write that it stems from; 0 where it is not read from a
    collection. Two are equal if their content is.
    """

    doc_id: str
    fields: Mapping[str, str]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    vector: Sequence[float] | None = None
    version: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class VersionConflict:
    """A document that was not as a conditional write expected it; `version` 0: none is stored."""

    doc_id: str
    version: int


def to_passage(parts: Sequence[str]) -> str:
    """The text that a model reads: the non-empty parts (title first), one a line."""
    return "\n".join(part for part in parts if part.strip())


# A filter is one of these six; an operand is never a tuple.


@dataclass(frozen=True, slots=True)
class AllOf:
    """And."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Or."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Not: none of these. Also matches documents without the attribute."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Equals:
    """The attribute equals a value; for a string list: contains it."""

    attribute: str
    value: AttributeScalar


@dataclass(frozen=True, slots=True)
class OneOf:
    """The attribute equals one of the values (in)."""

    attribute: str
    values: tuple[AttributeScalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The attribute lies within bounds; None is no bound. At least one bound is set."""

    attribute: str
    lower: AttributeScalar | None = None
    upper: AttributeScalar | None = None
    lower_inclusive: bool = True
    upper_inclusive: bool = True


Filter = AllOf | AnyOf | NoneOf | Equals | OneOf | Range


@dataclass(frozen=True, slots=True)
class Boost:
    """A factor, above 0, on the fused score of the documents that match."""

    filter: Filter
    factor: float


@dataclass(frozen=True, slots=True)
class Decay:
    """A factor on fused scores that halves with an attribute's distance from `origin`: see
    search.proto. Distances of a timestamp are in seconds; its origin may be None: now."""

    attribute: str
    half_life: float
    origin: int | float | datetime | None = None
    offset: float = 0.0
    floor: float = 0.0
    missing: float = 1.0


@dataclass(frozen=True, slots=True)
class Grouping:
    """At most `per_group` hits of each value of an attribute."""

    attribute: str
    per_group: int = 1


@dataclass(frozen=True, slots=True)
class Diversity:
    """Variety among the first `window` hits; `relevance`: 0 (variety alone) to 1 (none)."""

    relevance: float = 0.7
    window: int = 50


class FacetScope(enum.IntEnum):
    """Which documents a facet counts: all that the filter lets pass, or those recalled."""

    MATCHING = 1
    RECALLED = 2


@dataclass(frozen=True, slots=True)
class FacetRange:
    """Values from `at_least` and below `less_than`; None is no bound. At least one is set."""

    at_least: AttributeScalar | None = None
    less_than: AttributeScalar | None = None


@dataclass(frozen=True, slots=True)
class FacetRequest:
    """Values of one attribute to count: the `limit` most frequent, or `ranges` if there are any."""

    attribute: str
    limit: int = 10
    ranges: tuple[FacetRange, ...] = ()
    scope: FacetScope = FacetScope.MATCHING


@dataclass(frozen=True, slots=True)
class FacetCount:
    """How many documents have a value, or one in a range."""

    of: AttributeScalar | FacetRange
    count: int


@dataclass(frozen=True, slots=True)
class Facet:
    """The counts of one attribute: the most frequent first, ties by value; of ranges, as asked.

    `other_count` documents have a value, and none that is in `counts`; `missing_count` have none
    (a list without strings is none, as to a filter). A count is too low by `error_bound` at most.
    """

    attribute: str
    counts: tuple[FacetCount, ...]
    other_count: int
    missing_count: int
    error_bound: int = 0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who a ranking is for, as the caller says; "" is not known."""

    session_id: str = ""
    user_id: str = ""


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """What a caller may ask of a ranking. None: the server's configuration.

    An `unlogged` ranking is not shown to a user: production's, not explored with.
    """

    top_k: int = 10
    last_stage: Stage = Stage.SECOND_RERANK
    first_rerank_depth: int | None = None
    second_rerank_depth: int | None = None
    explain: bool = False
    language: str | None = None
    minimum_stage: Stage = Stage.INPUT
    long_passages: LongPassages | None = None
    request_class: RequestClass = RequestClass.INTERACTIVE
    use_cache: bool = True
    visitor: Visitor = Visitor()
    unlogged: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One search over a collection. `caller` is whose share it counts for; "" is one, too.

    `page_hits` is how many hits are to be paged through; 0: there is one answer only.
    `field_weights` are those of the lexical leg; empty: all text fields are read as one.
    `final_only`: earlier rankings than the last are not shown, and may have any order.
    """

    text: str
    filter: Filter | None = None
    options: RankingOptions = RankingOptions()
    vector: Sequence[float] | None = None
    caller: str = ""
    boosts: tuple[Boost, ...] = ()
    decay: Decay | None = None
    grouping: Grouping | None = None
    diversity: Diversity | None = None
    page_hits: int = 0
    field_weights: Mapping[str, float] = field(default_factory=dict)
    final_only: bool = False

    @property
    def hits_wanted(self) -> int:
        """As many hits as the caller may come to see."""
        return max(self.options.top_k, self.page_hits)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text still in the running, and the caller's own score of it, if any.

    `passage` is None where only its digest came and the text is not known here.
    """

    doc_id: str
    passage: str | None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class RerankQuery:
    """One candidate list that the caller brings."""

    text: str
    candidates: tuple[Candidate, ...]
    options: RankingOptions = RankingOptions()
    lexical_signal: bool = False
    caller: str = ""


class StageScore(NamedTuple):
    """One stage's view of one hit. `rank` from 1; `model_score` only in rerank stages."""

    stage: Stage
    rank: int
    score: float | None = None
    model_score: float | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One candidate in a ranking, with every stage's score of it (in stage order).

    `boost_factor` is what its fused score was multiplied by, `group` its value of the attribute
    that hits are grouped by; None where neither was asked for.
    """

    doc_id: str
    rank: int
    stage: Stage
    score: float | None
    state: HitState = HitState.SCORED
    unscored_reason: UnscoredReason = UnscoredReason.NONE
    token_count: int | None = None
    truncated: bool | None = None
    logit: float | None = None
    probability: float | None = None
    scores: tuple[StageScore, ...] = ()
    boost_factor: float | None = None
    group: AttributeScalar | None = None


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one stage did for one request."""

    stage: Stage
    state: StageState
    reason: StageReason = StageReason.NONE
    detail: str = ""
    model: str = ""
    model_revision: str = ""
    candidates_in: int | None = None
    candidates_out: int = 0
    elapsed_milliseconds: float = 0.0
    template_digest: str = ""
    candidates_cached: int = 0
    queue_milliseconds: float = 0.0
    answered_share: float | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ordered candidates after one stage. `hits` holds all of them; the edge cuts to top_k.

    `variant` is whose models answered. Of a final one, `swapped_rank` and the next are swapped for
    exploration. Where two variants are interleaved, `teams` says of each hit whose it is; `stages`
    are production's, `canary_stages` the canary's. `next_cursor` names the page after it, if any.
    `recalled` are the ids of the documents of the fused ranking, of which `hits` may lack some, and
    `facets` what was asked to be counted, of a final one. Every write to the collection up to
    `searchable_sequence` was searchable when recall began.
    """

    revision: int
    stage: Stage
    final: bool
    degraded: bool
    hits: tuple[Hit, ...]
    stages: tuple[StageReport, ...]
    variant: str = "production"
    swapped_rank: int | None = None
    teams: tuple[str, ...] = ()
    canary_stages: tuple[StageReport, ...] = ()
    next_cursor: str = ""
    recalled: tuple[str, ...] = ()
    facets: tuple[Facet, ...] = ()
    searchable_sequence: int = 0
