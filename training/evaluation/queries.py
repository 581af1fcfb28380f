"""The queries that models are measured on: judged ones of a set, or test queries of the log.

FOLDER[:SPLIT] in BEIR layout -> `judged_queries`, or label's lists of the test split ->
`log_queries` -> a QuerySet: texts, judgments, and what a reader of its figures has to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidecar.errors import ConfigurationError
from sidecar.evaluation.beir import JudgedSet, read_judged_set
from sidecar.models.language import detect_language
from training.examples.places import place_of
from training.labels.expected_grades import ExpectedGrades, read_expected_grades
from training.lists import Source, Split, TrainingList, read_lists
from training.queries import KnownQuery, drawn, normalised, read_queries
from training.run_files import EXPECTED_GRADES_FILE, LISTS_FILE, QUERIES_FILE

DEFAULT_SPLIT = "test"


@dataclass(frozen=True, slots=True)
class MeasuredQuery:
    """A query that is measured. `frequency`: how often the log has it, 0: never; `seen`: it, or
    one that reads the same, was trained or chosen on; `synthetic`: made up, by nobody asked."""

    query_id: str
    text: str
    frequency: int
    language: str
    seen: bool
    synthetic: bool = False


@dataclass(frozen=True, slots=True)
class QuerySet:
    """`qrels`: query id -> document id -> grade. `notes`: sentences about what figures mean.
    `of_users`: those of which nothing is known but what users did, measured by `expected_grades`.
    """

    name: str
    origin: str  # "judgments", "clicks" or "clicks and judgments"
    queries: Mapping[str, MeasuredQuery]
    qrels: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    of_users: frozenset[str] = frozenset()
    expected_grades: ExpectedGrades | None = None

    @property
    def texts(self) -> dict[str, str]:
        """By query id."""
        return {query_id: query.text for query_id, query in self.queries.items()}

    def judged(self) -> JudgedSet:
        """As the sidecar's evaluation takes it."""
        qrels = {
            query_id: {doc_id: round(grade) for doc_id, grade in one.items()}
            for query_id, one in self.qrels.items()
        }
        return JudgedSet(self.name, self.texts, qrels)


def known_queries(collect: Path) -> dict[str, KnownQuery]:
    """The queries of the run, by id. Raises InputFileError with the line."""
    return {one.query_id: one for one in read_queries(collect / QUERIES_FILE)}


def judged_queries(
    judged: str, known: Mapping[str, KnownQuery], most: int = 0, seed: int = 0
) -> QuerySet:
    """The queries of FOLDER or FOLDER:SPLIT (the test split), at most `most`, drawn by the seed.

    Raises InputFileError.
    """
    place = place_of(judged)
    split = place.split or DEFAULT_SPLIT
    found = read_judged_set(place.path, split)
    chosen = drawn(list(found.queries), most, seed)
    by_text = _by_text(known.values())
    queries = {each: _measured(each, found.queries[each], by_text) for each in chosen}
    notes = _notes_of_queries(queries) + _notes_of_drawn(len(chosen), len(found.queries))
    qrels = {each: found.qrels[each] for each in chosen}
    return QuerySet(f"{found.name} ({split})", "judgments", queries, qrels, tuple(notes))


def log_queries(
    label: Path, known: Mapping[str, KnownQuery], most: int = 0, seed: int = 0
) -> QuerySet:
    """The run's own test queries that something relevant is known for, as label graded them.

    Raises InputFileError, ConfigurationError where there are none.
    """
    lists = {one.query_id: one for one in read_lists(label / LISTS_FILE, Split.TEST)}
    answered = {key: one for key, one in lists.items() if max(one.judged.values(), default=0) > 0}
    if not answered:
        raise ConfigurationError(
            f"none of the {len(lists)} test queries has a relevant document, so nothing can be "
            "measured: collect more, raise collect.test_share, or name judged queries in "
            "evaluate.judged"
        )
    chosen = drawn(list(answered), most, seed)
    queries = {each: _known_or_new(answered[each], known) for each in chosen}
    qrels = {each: dict(answered[each].judged) for each in chosen}
    origin = _origin([answered[each] for each in chosen])
    notes = _notes_of_clicks(origin) + _notes_of_queries(queries)
    notes += _notes_of_drawn(len(chosen), len(answered))
    if dropped := len(lists) - len(answered):
        notes.append(f"{dropped} test queries have no relevant document and are left out.")
    of_users = frozenset(each for each in chosen if answered[each].is_of_users)
    path = label / EXPECTED_GRADES_FILE
    expected_grades = read_expected_grades(path) if of_users and path.exists() else None
    name = "test queries of the log"
    return QuerySet(name, origin, queries, qrels, tuple(notes), of_users, expected_grades)


def _by_text(known: Iterable[KnownQuery]) -> dict[str, KnownQuery]:
    return {normalised(one.query): one for one in known}


def _measured(query_id: str, text: str, by_text: Mapping[str, KnownQuery]) -> MeasuredQuery:
    found = by_text.get(normalised(text))
    if found is None:
        return MeasuredQuery(query_id, text, 0, detect_language(text), False)
    seen = found.split != Split.TEST
    return MeasuredQuery(
        query_id, text, found.frequency, detect_language(text), seen, found.synthetic
    )


def _known_or_new(one: TrainingList, known: Mapping[str, KnownQuery]) -> MeasuredQuery:
    found = known.get(one.query_id)
    frequency, synthetic = (found.frequency, found.synthetic) if found else (0, False)
    return MeasuredQuery(
        one.query_id, one.query, frequency, detect_language(one.query), False, synthetic
    )


def _origin(lists: Sequence[TrainingList]) -> str:
    sources = {each.source for one in lists for each in one.positives}
    if Source.CLICKED not in sources:
        return "judgments"
    return "clicks" if sources == {Source.CLICKED} else "clicks and judgments"


def _notes_of_clicks(origin: str) -> list[str]:
    if origin == "judgments":
        return []
    return [
        "Grades are what clicks on test queries let expect. Of documents that were not shown, that "
        "is what is shown at such ranks, carried on to the best rank that any system gives them: "
        "taken for irrelevant, they would make every system but production look worse.",
    ]


def _notes_of_queries(queries: Mapping[str, MeasuredQuery]) -> list[str]:
    notes = []
    if seen := sum(query.seen for query in queries.values()):
        notes.append(
            f"{seen} of {len(queries)} judged queries read like queries of the log that were "
            'trained or chosen on: the slice "seen" says what they gain, "unseen" what others do.'
        )
    if made_up := sum(query.synthetic for query in queries.values()):
        notes.append(f"{made_up} of {len(queries)} queries are synthetic: nobody asked them.")
    return notes


def _notes_of_drawn(chosen: int, of: int) -> list[str]:
    return [f"{chosen} of {of} queries were drawn by the seed."] if chosen < of else []
