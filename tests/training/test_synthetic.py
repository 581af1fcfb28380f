"""Made-up sets: what is relevant in them is, they are the same again, and say what they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stage_works import a_beir_folder, a_config, a_work, json_lines

from sidecar.errors import ConfigurationError, InputFileError, InvalidFieldError
from sidecar.evaluation.beir import read_corpus, read_judged_set
from training.__main__ import main
from training.examples.formats import read_labelled
from training.examples.places import Place
from training.examples.refusals import Refusals
from training.stages import collect
from training.synthetic import queries_over
from training.synthetic.base import Row
from training.synthetic.from_template import from_template
from training.synthetic.templates import load_template, template_names

OWN = """
name = "pets"
key = ["pet"]
title = "{colour} {pet}"
text = "A {colour} {pet}."
queries = ["{pet}", "{colour} {pet}"]
[slots]
pet = ["cat", "dog"]
colour = ["red", "black", "white"]
[synonyms]
cat = ["kitten"]
"""


@pytest.mark.parametrize("name", template_names())
def test_templates_of_the_package(name: str) -> None:
    documents, queries = from_template(load_template(name), 60, seed=4)
    texts = {row["_id"]: f"{row['title']} {row['text']}".lower() for row in documents}
    assert len(texts) == len(documents) == 180
    assert len(queries) == 60
    for one in queries:
        assert one.query_id.startswith("synthetic-")
        assert set(one.relevances) <= set(texts)
        assert max(one.relevances.values()) == 3
        assert one.negatives
    assert all(doc_id.startswith("synthetic-") for doc_id in texts)


def test_relevance_of_a_template(tmp_path: Path) -> None:
    (tmp_path / "pets.toml").write_text(OWN)
    documents, queries = from_template(load_template(str(tmp_path / "pets.toml")), 50, seed=0)
    titles = {row["_id"]: row["title"] for row in documents}
    assert sorted(titles.values()) == sorted(
        f"{c} {p}" for c in ("red", "black", "white") for p in ("cat", "dog")
    )
    assert any("kitten" in one.text for one in queries)
    for one in queries:
        *colours, pet = one.text.replace("kitten", "cat").split()
        for doc_id, grade in one.relevances.items():
            colour, of_document = titles[doc_id].split()
            right_colour = not colours or colour == colours[0]
            assert grade == (0 if of_document != pet else 3 if right_colour else 1)


def test_the_same_seed_and_others() -> None:
    template = load_template("ecommerce-search")
    assert from_template(template, 30, 1) == from_template(template, 30, 1)
    assert from_template(template, 30, 1)[1] != from_template(template, 30, 2)[1]
    few, more = from_template(template, 20, 1)[0], from_template(template, 40, 1, "test")[0]
    assert more[: len(few)] == few


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (OWN.replace('title = "{colour} {pet}"', ""), "title is missing"),
        (
            OWN.replace('queries = ["{pet}", "{colour} {pet}"]', "queries = []"),
            "queries is missing",
        ),
        (OWN.replace('"{colour} {pet}"]', '"{size} {pet}"]'), "no slot 'size'"),
        (OWN.replace('"{colour} {pet}"]', '"{colour}"]'), "has the key slots pet"),
        (OWN.replace('key = ["pet"]', ""), "key names the slots"),
        (OWN.replace('text = "A {colour} {pet}."', 'text = "{"'), "cannot be read"),
        (OWN.replace("[slots]", "[holes]"), "unknown key 'holes'"),
        (OWN.replace('["cat", "dog"]', '"cat"'), "each key has a list of texts"),
    ],
)
def test_a_template_that_is_none_says_why(tmp_path: Path, wrong: str, reason: str) -> None:
    path = tmp_path / "pets.toml"
    path.write_text(wrong)
    with pytest.raises(InputFileError, match=reason):
        load_template(str(path))


def test_no_template_and_no_samples(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="one of ecommerce-search, faq"):
        load_template("ecommerce")
    with pytest.raises(InvalidFieldError, match="1 or more"):
        from_template(load_template("faq"), 0, 0)
    (tmp_path / "broken.toml").write_text("[")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_template(str(tmp_path / "broken.toml"))


def test_the_command_writes_sets_that_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    command = ["generate", "--template", "faq", "--samples", "20", "--out", str(out)]
    assert main(command) == 0
    assert "SYNTHETIC" in capsys.readouterr().out
    assert main([*command, "--split", "test", "--add", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "queries": 20,
        "documents": 60,
        "synthetic": True,
    }
    assert main([*command, "--add"]) == 0  # again: nothing is there twice
    for split in ("train", "test"):
        judged = read_judged_set(out, split)
        assert len(judged.queries) == 20
        samples = out / f"synthetic-samples-{split}.jsonl"
        refusals = Refusals()
        found = read_labelled(Place(samples), refusals)
        assert (found.format, dict(refusals.rows)) == ("positives", {})
        assert all(one.synthetic for one in found.examples)
    assert len(list(read_corpus(out))) == 60
    assert len(json_lines(out / "queries.jsonl")) == 40
    assert all(row["synthetic"] for row in json_lines(out / "queries.jsonl"))
    assert "SYNTHETIC" in (out / "README.md").read_text()


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "set")
    assert main(["generate", "--template", "nope", "--out", out]) == 2
    assert "is no template" in capsys.readouterr().err
    assert main(["generate", "--template", "faq", "--split", "a/b", "--out", out]) == 2
    assert main(["generate", "--template", "faq", "--samples", "20", "--out", out]) == 0
    assert main(["generate", "--template", "faq", "--seed", "1", "--add", "--out", out]) == 2
    assert "holds other documents" in capsys.readouterr().err


def test_a_folder_that_holds_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, real = tmp_path / "made", tmp_path / "real"
    command = ["generate", "--template", "faq", "--samples", "20", "--out"]
    assert main([*command, str(made)]) == 0
    a_beir_folder(real, {"1": "a"}, {"1": {"x": 1}}, {"x": "words"})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for folder in (made, real):
        assert main([*command, str(folder), "--split", "test"]) == 2
        assert f"{folder}: holds a set: give another folder, or --add" in capsys.readouterr().err
    assert main([*command, str(real), "--split", "test", "--add"]) == 2
    assert "holds a set that was not made up: give another" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert main([*command, str(made), "--split", "test", "--add"]) == 0
    assert len(read_judged_set(made, "train").queries) == 20


def test_the_mark_goes_through_collect(tmp_path: Path) -> None:
    out = tmp_path / "set"
    assert main(["generate", "--template", "faq", "--samples", "30", "--out", str(out)]) == 0
    for given in (str(out), str(out / "synthetic-samples-train.jsonl")):
        collect.run(a_work(tmp_path, "collect", a_config(collect={"judgments": [given]})))
        queries = json_lines(tmp_path / "collect" / "queries.jsonl")
        assert queries
        assert all(one["synthetic"] for one in queries)
        assert all(one["query_id"].startswith("synthetic-") for one in queries)
        judgments = json_lines(tmp_path / "collect" / "judgments.jsonl")
        assert {one["source"] for one in judgments} == {"synthetic"}
        report = json.loads((tmp_path / "collect" / "report.json").read_text())
        assert "SYNTHETIC" in report["words"][0]


WORDS = [
    *("tide", "wave", "dune", "sand", "storm", "shell", "gull", "crab"),
    *("rope", "sail", "mast", "keel", "anchor", "moor", "reef"),
]


def documents(count: int) -> list[Row]:
    return [
        {
            "_id": f"d{n}",
            "title": f"{WORDS[n % 15]} {WORDS[n * 7 % 15]} number{n}",
            "text": f"The {WORDS[n * 3 % 15]} is near the {WORDS[n * 11 % 15]} of place{n}. "
            f"We remove all of {WORDS[n * 13 % 15]} and token{n} before it rains.",
        }
        for n in range(count)
    ]


def test_queries_over_documents() -> None:
    rows = documents(120)
    made = queries_over(rows, 200, seed=1)
    assert len(made) == 200
    assert len({one.text for one in made}) == len({one.query_id for one in made}) == 200
    texts = {row["_id"]: f"{row['title']} {row['text']}".lower() for row in rows}
    own = 0
    for one in made:
        (best,) = [doc_id for doc_id, grade in one.relevances.items() if grade == 2]
        words = one.text.split()
        own += all(word in texts[best] for word in words)
        assert sum(word in texts[best] for word in words) >= len(words) / 2
        assert len(one.relevances) <= 21
    assert 100 < own < 200  # some are put in other words


def test_queries_over_documents_are_the_seeds() -> None:
    rows = documents(60)
    assert queries_over(rows, 40, 1) == queries_over(rows, 40, 1)
    assert queries_over(rows, 40, 1) != queries_over(rows, 40, 2)
    train, test = queries_over(rows, 40, 1), queries_over(rows, 40, 1, "test")
    assert not {one.query_id for one in train} & {one.query_id for one in test}


def test_documents_that_give_no_queries() -> None:
    assert queries_over([], 10, 0) == []
    same = [
        {"_id": str(n), "title": "all the same", "text": "every word alike"} for n in range(200)
    ]
    assert queries_over(same, 10, 0) == []
    assert len(queries_over(documents(3), 10_000, 0)) < 100
    empty = [{"_id": "e", "title": "", "text": "..."}]
    assert queries_over(empty, 3, 0) == []


def test_queries_over_given_documents_by_the_command(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "corpus.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(row) + "\n" for row in documents(80)))
    out = tmp_path / "set"
    command = ["generate", "--documents", str(path.parent), "--samples", "30", "--out", str(out)]
    assert main(command) == 0
    assert len(read_judged_set(out, "train").queries) == 30
    assert json_lines(out / "corpus.jsonl") == json_lines(path)  # real documents are not marked
