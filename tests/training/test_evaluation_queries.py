"""Which queries are measured, what is said of them, and the parts that they are looked at in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sidecar.errors import ConfigurationError
from training.evaluation.queries import (
    MeasuredQuery,
    judged_queries,
    known_queries,
    log_queries,
)
from training.evaluation.slices import LEAST_QUERIES, slices_of, words_of
from training.labels.expected_grades import ExpectedGrades
from training.lists import ListCandidate, Source, Split, TrainingList, write_lists
from training.queries import KnownQuery, write_queries


def judged_folder(folder: Path, count: int = 6) -> Path:
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"j{n}", "text": f"Lamp number {n}"} for n in range(count)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = ["query-id\tcorpus-id\tscore", *(f"j{n}\td{n}\t2" for n in range(count))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines))
    (folder / "qrels" / "dev.tsv").write_text("\n".join(lines[:3]))
    return folder


def known(*given: KnownQuery) -> dict[str, KnownQuery]:
    return {one.query_id: one for one in given}


def test_judged_queries_know_what_the_log_knows_of_their_text(tmp_path: Path) -> None:
    folder = judged_folder(tmp_path / "lamps")
    found = judged_queries(
        str(folder),
        known(
            KnownQuery("q-a", "lamp  NUMBER 0", Split.TRAIN, frequency=7),
            KnownQuery("q-b", "lamp number 1", Split.TEST, frequency=3, synthetic=True),
        ),
    )
    queries = found.queries
    assert [(q.frequency, q.seen, q.synthetic) for q in queries.values()][:3] == [
        (7, True, False),
        (3, False, True),
        (0, False, False),
    ]
    assert found.qrels["j3"] == {"d3": 2}
    assert (found.name, found.origin) == ("lamps (test)", "judgments")
    assert any(note.startswith("1 of 6 judged queries read like queries") for note in found.notes)
    assert any("1 of 6 queries are synthetic" in note for note in found.notes)


def test_a_split_is_named_behind_a_colon(tmp_path: Path) -> None:
    folder = judged_folder(tmp_path / "lamps")
    odd = judged_folder(tmp_path / "a:b")
    assert judged_queries(str(odd), {}).name == "a:b (test)"
    assert judged_queries(str(folder), {}).name == "lamps (test)"
    assert list(judged_queries(f"{folder}:dev", {}).queries) == ["j0", "j1"]


def test_queries_are_drawn_by_the_seed_and_it_is_said(tmp_path: Path) -> None:
    folder = str(judged_folder(tmp_path / "lamps"))
    some = judged_queries(folder, {}, most=3, seed=1)
    assert len(some.queries) == len(some.qrels) == 3
    assert list(some.queries) == sorted(some.queries)
    assert some == judged_queries(folder, {}, most=3, seed=1)
    drawn = {tuple(judged_queries(folder, {}, most=3, seed=seed).queries) for seed in range(9)}
    assert len(drawn) > 1
    assert "3 of 6 queries were drawn by the seed." in some.notes


def a_list(query_id: str, split: Split, *candidates: tuple[str, int, Source]) -> TrainingList:
    made = tuple(
        ListCandidate(doc_id, float(grade > 0), grade, source=source)
        for doc_id, grade, source in candidates
    )
    return TrainingList(query_id, f"words of {query_id}", split, made)


def test_the_logs_own_test_queries_say_that_their_grades_are_clicks(tmp_path: Path) -> None:
    lists = [
        a_list("q1", Split.TEST, ("a", 2, Source.CLICKED), ("b", 0, Source.SKIPPED)),
        a_list("q2", Split.TEST, ("c", 0, Source.SKIPPED)),
        a_list("q3", Split.TRAIN, ("a", 4, Source.CLICKED)),
    ]
    write_lists(lists, tmp_path / "lists.jsonl")
    write_queries([KnownQuery("q1", "words of q1", Split.TEST, 5)], tmp_path / "queries.jsonl")
    expected_grades = ExpectedGrades({"q1": {"a": 1.5}}, 0.5, 0.1, 10)
    expected_grades.write(tmp_path / "expected_grades.json")
    found = log_queries(tmp_path, known_queries(tmp_path))
    assert list(found.queries) == ["q1"]
    assert found.expected_grades == expected_grades
    assert found.queries["q1"].frequency == 5
    assert found.qrels == {"q1": {"a": 2, "b": 0}}
    assert found.origin == "clicks"
    assert found.of_users == {"q1"}
    assert any("Grades are what clicks on test queries let expect" in n for n in found.notes)
    assert "1 test queries have no relevant document and are left out." in found.notes


def test_without_a_relevant_document_there_is_nothing_to_measure(tmp_path: Path) -> None:
    write_lists([a_list("q1", Split.TEST, ("a", 0, Source.SKIPPED))], tmp_path / "lists.jsonl")
    with pytest.raises(ConfigurationError, match="none of the 1 test queries has a relevant"):
        log_queries(tmp_path, {})


def queries(texts: list[str], **columns: list) -> dict[str, MeasuredQuery]:
    rows = [
        {"frequency": 0, "language": "en", "seen": False}
        | {name: column[n] for name, column in columns.items()}
        for n in range(len(texts))
    ]
    return {f"q{n}": MeasuredQuery(f"q{n}", texts[n], **rows[n]) for n in range(len(texts))}


def test_the_head_is_the_share_asked_most_and_equals_are_not_parted() -> None:
    often = [100] * 12 + [50] * 12 + [1] * 56
    found = slices_of(queries(["a b"] * 80, frequency=often), head_share=0.2)
    assert len(found["head"]) == 24
    assert set(found["head"]) == {f"q{n}" for n in range(24)}
    assert len(found["tail"]) == 56
    assert not set(found["head"]) & set(found["tail"])


def test_a_head_that_would_be_all_is_what_was_asked_more_than_least() -> None:
    often = [9] * 11 + [1] * 40
    found = slices_of(queries(["a b"] * 51, frequency=often), head_share=0.5)
    assert len(found["head"]) == 11


def test_without_frequencies_there_is_neither_head_nor_tail() -> None:
    texts = ["one"] * 20 + ["one two three"] * 20
    assert set(slices_of(queries(texts), 0.2)) == {"1 word", "2-3 words"}


def test_slices_of_few_queries_and_of_all_are_left_out() -> None:
    texts = ["one"] * (LEAST_QUERIES - 1) + ["one two"] * 30
    assert slices_of(queries(texts), 0.2).keys() == {"2-3 words"}
    assert slices_of(queries(["one two"] * 30), 0.2) == {}


def test_languages_and_what_was_seen_are_slices() -> None:
    languages, seen = ["zh"] * 15 + ["en"] * 15, [True] * 10 + [False] * 20
    found = slices_of(queries(["ab cd"] * 30, language=languages, seen=seen), 0.2)
    assert len(found["language zh"]) == len(found["language en"]) == 15
    assert (len(found["seen"]), len(found["unseen"])) == (10, 20)


def test_words_of_chinese_are_counted_by_a_dictionary() -> None:
    assert words_of("garden hose 50 ft") == 4
    assert words_of("北京大学") >= 1
    assert words_of("我想买一个红色的手机壳") > words_of("手机壳")
