"""Folders as transformers 5, sentence-transformers 2 to 6 and the hub lay them out."""

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import ModelError
from sidecar.models.contract import ModelContract, to_json
from sidecar.models.formats import read_folder
from sidecar.storage.files import digest_of

BERT = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 384,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
CROSS = {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
OLD_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {
        "idx": 2,
        "name": "2",
        "path": "2_Normalize",
        "type": "sentence_transformers.models.Normalize",
    },
]
NEW_PREFIX = "sentence_transformers.sentence_transformer.modules"
NEW_MODULES = [
    {"path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"},
    {"path": "1_Pooling", "type": f"{NEW_PREFIX}.pooling.Pooling"},
]


def folder_of(root: Path, **files: Any) -> Path:
    """A folder of JSON files ("a__b" is a/b.json) and one file of weights."""
    (root / "model.safetensors").write_bytes(b"weights")
    for name, tree in files.items():
        path = root / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(tree))
    return root


def contract_of(folder: Path, kind: str = "bi-encoder") -> ModelContract:
    return read_folder(folder, "some/model", kind, "").contract


def test_a_transformers_bi_encoder(tmp_path: Path) -> None:
    contract = contract_of(folder_of(tmp_path, config=BERT))
    assert (contract.pooling, contract.dimensions, contract.max_tokens) == ("mean", 384, 512)
    assert contract.languages == ()
    assert contract.revision == digest_of(tmp_path / "model.safetensors")[:12]


@pytest.mark.parametrize(
    ("modules", "pooling", "expected"),
    [
        (OLD_MODULES, {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        (OLD_MODULES, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        (NEW_MODULES, {"pooling_mode": "max", "include_prompt": True}, "max"),
        (NEW_MODULES, {"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_sentence_transformers_bi_encoders(
    tmp_path: Path, modules: Any, pooling: Any, expected: str
) -> None:
    folder = folder_of(
        tmp_path,
        config=BERT,
        modules=modules,
        **{"1_Pooling__config": pooling},
        sentence_bert_config={"max_seq_length": 256},
        config_sentence_transformers={"prompts": {"query": "query: ", "document": "passage: "}},
    )
    contract = contract_of(folder)
    assert (contract.pooling, contract.max_tokens) == (expected, 256)
    assert (contract.query_prefix, contract.passage_prefix) == ("query: ", "passage: ")


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "pools by"),
        ({"pooling_mode": "weightedmean"}, "pools by"),
        ({"pooling_mode": "mean", "include_prompt": False}, "prompt out of pooling"),
    ],
)
def test_poolings_that_are_not_supported(tmp_path: Path, pooling: Any, message: str) -> None:
    folder = folder_of(tmp_path, config=BERT, modules=OLD_MODULES, **{"1_Pooling__config": pooling})
    with pytest.raises(ModelError, match=message):
        contract_of(folder)


def test_a_dense_module_is_refused(tmp_path: Path) -> None:
    dense = {"path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    with pytest.raises(ModelError, match="Dense module"):
        contract_of(folder_of(tmp_path, config=BERT, modules=[*OLD_MODULES, dense]))


@pytest.mark.parametrize(
    "activation",
    [
        {"config": {"sentence_transformers": {"activation_fn": "torch.nn.modules.Identity"}}},
        {"config": {"sbert_ce_default_activation_function": "torch.nn.modules.Sigmoid"}},
        {"shared": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}},
        {},
    ],
)
def test_cross_encoders_and_their_activations(tmp_path: Path, activation: Any) -> None:
    config = {**CROSS, **activation.get("config", {})}
    shared = activation.get("shared", {})
    folder = folder_of(tmp_path, config=config, config_sentence_transformers=shared)
    assert contract_of(folder, "cross-encoder").max_tokens == 512


def test_cross_encoders_that_cannot_rerank(tmp_path: Path) -> None:
    three = {**CROSS, "id2label": {"0": "a", "1": "b", "2": "c"}}
    with pytest.raises(ModelError, match="3 labels"):
        contract_of(folder_of(tmp_path, config=three), "cross-encoder")
    odd = {**CROSS, "sentence_transformers": {"activation_fn": "torch.nn.Softmax"}}
    with pytest.raises(ModelError, match="Softmax"):
        contract_of(folder_of(tmp_path, config=odd), "cross-encoder")


def test_the_wrong_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a cross-encoder, a bi-encoder is wanted"):
        contract_of(folder_of(tmp_path, config=CROSS))


def test_roberta_counts_its_positions_from_the_padding(tmp_path: Path) -> None:
    config = {**CROSS, "model_type": "xlm-roberta", "max_position_embeddings": 514}
    folder = folder_of(tmp_path, config={**config, "pad_token_id": 1})
    assert contract_of(folder, "cross-encoder").max_tokens == 512


def test_a_tokenizers_huge_limit_is_none(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, config=BERT, tokenizer_config={"model_max_length": 10**30})
    assert contract_of(folder).max_tokens == 512


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_onnx_comes_before_safetensors(tmp_path: Path, place: str) -> None:
    folder = folder_of(tmp_path, config=BERT)
    (folder / "onnx").mkdir()
    (folder / place).write_bytes(b"onnx")
    files = read_folder(folder, "some/model", "bi-encoder", "v1")
    assert files.onnx == folder / place
    assert files.contract.revision == "v1"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither model.onnx"),
        ({"pytorch_model.bin": b""}, "safe_serialization=True"),
        ({"model.safetensors": b""}, r"config\.json is missing"),
        ({"model.safetensors": b"", "config.json": b"{"}, r"config\.json is not JSON"),
    ],
)
def test_folders_that_are_not_models(tmp_path: Path, files: Any, message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message):
        contract_of(tmp_path)


def published(folder: Path, **changes: Any) -> Path:
    """A folder with a contract and a digest of its weights."""
    (folder / "model.onnx").write_bytes(b"onnx")
    contract = ModelContract(
        name="small",
        kind="bi-encoder",
        revision="7",
        files=(("model.onnx", digest_of(folder / "model.onnx")),),
    )
    (folder / "contract.json").write_text(json.dumps({**to_json(contract), **changes}))
    return folder


def test_a_published_folder_is_checked_file_by_file(tmp_path: Path) -> None:
    folder = published(tmp_path)
    assert contract_of(folder).revision == "7"
    (folder / "model.onnx").write_bytes(b"onny")
    with pytest.raises(ModelError, match=r"model\.onnx is not the file"):
        contract_of(folder)
    (folder / "model.onnx").unlink()
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        contract_of(folder)


def test_a_published_cross_encoder_is_no_bi_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a cross-encoder"):
        contract_of(published(tmp_path, kind="cross-encoder"))
