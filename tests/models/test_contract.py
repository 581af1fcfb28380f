import json
from pathlib import Path

import pytest

from sidecar.errors import ModelError
from sidecar.models.contract import ModelContract, read_contract, to_json

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


def test_languages() -> None:
    assert CONTRACT.serves("en")
    assert CONTRACT.serves("")
    assert not CONTRACT.serves("zh")
    assert ModelContract(name="any", kind="bi-encoder", revision="1").serves("zh")
