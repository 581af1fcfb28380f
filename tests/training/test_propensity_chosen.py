"""What later stages read of the stage propensity."""

import json

import numpy as np
import pytest

from sidecar.errors import InputFileError
from training.propensity.chosen import read_chosen
from training.propensity.estimators import LEARNT
from training.propensity.from_file import PropensityFile


def write(folder, name, tree):
    (folder / name).write_text(json.dumps(tree))


def test_an_estimator_is_opened_by_the_name_it_was_chosen_under(tmp_path):
    write(tmp_path, "choice.json", {"estimator": "pbm", "why": ["asked for"]})
    chosen = read_chosen(tmp_path)
    assert (chosen.open(), chosen.why) == (LEARNT["pbm"], ("asked for",))


def test_given_propensities_are_those_that_the_stage_kept(tmp_path):
    write(tmp_path, "choice.json", {"estimator": "file", "why": []})
    write(tmp_path, "propensities.json", {"propensities": [2.0, 1.0, None]})
    chosen = read_chosen(tmp_path)
    assert chosen.open() == PropensityFile(tmp_path / "propensities.json")
    np.testing.assert_equal(chosen.propensities(), [1.0, 0.5, np.nan])


@pytest.mark.parametrize(
    ("estimator", "identified", "ranks"),
    [
        ("pbm", [True, True, False, True], 2),
        ("pbm", [True, True], 2),
        ("pbm", None, 5),
        ("file", [False], 5),
    ],
)
def test_ranks_are_identified_up_to_the_first_that_is_not(tmp_path, estimator, identified, ranks):
    write(tmp_path, "choice.json", {"estimator": estimator})
    if identified is not None:
        write(tmp_path, "identifiability.json", {"ranks": [{"identified": i} for i in identified]})
    assert read_chosen(tmp_path).identified_ranks(5) == ranks


@pytest.mark.parametrize("content", [None, "{", "[]", '{"why": []}', '{"estimator": 3}'])
def test_a_damaged_choice_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "choice.json").write_text(content)
    with pytest.raises(InputFileError, match=r"choice\.json"):
        read_chosen(tmp_path)
