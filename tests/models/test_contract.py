import dataclasses
import json
import math
from pathlib import Path

import pytest

from sidecar.errors import ModelError
from sidecar.models.contract import ModelContract, ScoreCalibration, read_contract, to_json

CONTRACT = ModelContract(
    name="small",
    kind="cross-encoder",
    revision="3",
    languages=("en", "de"),
    weight=0.4,
    golden_pairs=(("query", "passage", -1.25),),
    files=(("model.onnx", "ab"), ("tokenizer.json", "cd")),
)


def test_a_contract_is_read_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "contract.json"
    path.write_text(json.dumps({**to_json(CONTRACT), "licence": "Apache-2.0"}))
    assert read_contract(path) == CONTRACT


@pytest.mark.parametrize(
    "text", ["", "[]", '{"name": "small"}', '{"name": 1, "files": []}', '{"golden_pairs": [1]}']
)
def test_what_is_not_a_contract_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "contract.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"contract\.json"):
        read_contract(path)


def test_a_calibration_makes_a_probability_of_a_logit(tmp_path: Path) -> None:
    calibrated = dataclasses.replace(CONTRACT, calibration=ScoreCalibration("platt", 0.5, -1.0))
    path = tmp_path / "contract.json"
    path.write_text(json.dumps(to_json(calibrated)))
    assert read_contract(path) == calibrated
    assert calibrated.probability(2.0) == 0.5
    assert calibrated.probability(2.0 + 2 * math.log(3)) == pytest.approx(0.75)
    assert calibrated.probability(-1e6) == pytest.approx(0.0)
    assert calibrated.probability(1e6) == 1.0
    assert CONTRACT.probability(2.0) is None


@pytest.mark.parametrize(
    "calibration",
    [
        {"method": "isotonic", "slope": 1.0, "intercept": 0.0},
        {"method": "platt", "slope": -1.0, "intercept": 0.0},
        {"method": "platt", "slope": 1.0, "intercept": float("nan")},
        {"method": "platt", "slope": 1.0},
        {"method": "platt", "slope": "1", "intercept": 0.0},
        3,
    ],
)
def test_a_calibration_that_makes_no_sense_is_refused(tmp_path: Path, calibration: object) -> None:
    path = tmp_path / "contract.json"
    path.write_text(json.dumps({**to_json(CONTRACT), "calibration": calibration}))
    with pytest.raises(ModelError, match="is not a model contract"):
        read_contract(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", "many"),
        ("max_tokens", True),
        ("weight", "0.4"),
        ("normalize", 1),
        ("name", 7),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(
    tmp_path: Path, name: str, value: object
) -> None:
    path = tmp_path / "contract.json"
    path.write_text(json.dumps({**to_json(CONTRACT), name: value}))
    with pytest.raises(ModelError, match=f"{name} is {value!r}"):
        read_contract(path)


def test_languages() -> None:
    assert CONTRACT.serves("en")
    assert CONTRACT.serves("")
    assert not CONTRACT.serves("zh")
    assert ModelContract(name="any", kind="bi-encoder", revision="1").serves("zh")
