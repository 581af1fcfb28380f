"""Tiny random models as transformers and sentence-transformers save them, converted for real.

Needs an interpreter with the [train] extra: this one, or SIDECAR_TRAIN_PYTHON.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scoring import scores_of

from sidecar.config import BiEncoderConfig, RerankerConfig, RuntimeConfig
from sidecar.errors import ModelError
from sidecar.models import convert
from sidecar.models.formats import ModelFiles, read_folder
from sidecar.models.hub import CARRIED
from sidecar.models.load import load_bi_encoder, load_cross_encoder
from sidecar.models.sample_texts import sample_pairs

FIXED = RuntimeConfig(runtime="onnxruntime", precision="fp32")
PAIRS = sample_pairs()[::12]
# Saves a random model and its own scores of PAIRS; run by the interpreter that has torch.
MAKE = """
import json, sys
import torch, transformers
folder, kind, family, tokenizer, pairs = sys.argv[1], *sys.argv[2:5], json.loads(sys.argv[5])
torch.manual_seed(7)
sizes = dict(vocab_size=23000, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
             intermediate_size=64, num_labels=1, initializer_range=0.5)
if family == "xlm-roberta":
    config = transformers.XLMRobertaConfig(**sizes, type_vocab_size=1, max_position_embeddings=514)
else:
    config = transformers.BertConfig(**sizes)
head = transformers.AutoModelForSequenceClassification
model = (head if kind == "cross-encoder" else transformers.AutoModel).from_config(config).eval()
model.save_pretrained(folder)
fast = transformers.PreTrainedTokenizerFast(tokenizer_file=tokenizer, pad_token="[PAD]")
fast.save_pretrained(folder)
def inputs(*texts):
    kept = fast(*texts, padding=True, return_tensors="pt", return_token_type_ids=True)
    if family == "xlm-roberta":
        kept.pop("token_type_ids", None)
    return kept
queries, passages = [list(texts) for texts in zip(*pairs)]
with torch.no_grad():
    if kind == "cross-encoder":
        outputs = [model(**inputs([q], [p])).logits[0, 0].item() for q, p in pairs]
    else:
        states = [model(**inputs([p])).last_hidden_state[0] for p in passages]
        outputs = [state.mean(0).tolist() for state in states]
print(json.dumps(outputs))
"""


@functools.cache
def train_python() -> str | None:
    for python in (os.environ.get("SIDECAR_TRAIN_PYTHON"), sys.executable):
        if (
            python
            and not subprocess.run(
                [python, "-c", "import torch, transformers"], capture_output=True
            ).returncode
        ):
            return python
    return None


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> str:
    found = train_python()
    if found is None:
        pytest.skip(
            "no interpreter with torch and transformers: pip install -e '.[train]', or name one in "
            "SIDECAR_TRAIN_PYTHON"
        )
    monkeypatch.setattr(convert, "PYTHON", found)
    return found


def make(python: str, folder: Path, kind: str, family: str = "bert") -> np.ndarray:
    """A random model in `folder`; what torch makes of PAIRS."""
    tokenizer = CARRIED / "pair-minilm-l3" / "tokenizer.json"
    command = [python, "-c", MAKE, folder, kind, family, tokenizer, json.dumps(PAIRS)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout), dtype=np.float32)


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_a_transformers_cross_encoder(python: str, tmp_path: Path, family: str) -> None:
    folder, data_dir = tmp_path / "model", tmp_path / "data"
    wanted = make(python, folder, "cross-encoder", family)
    config = RerankerConfig(model=str(folder))
    model = load_cross_encoder(config, FIXED, data_dir)
    assert model is not None
    scores = np.concatenate([scores_of(model, query, [passage]) for query, passage in PAIRS])
    np.testing.assert_allclose(scores, wanted, atol=2e-5)
    made = list((data_dir / "converted").iterdir())
    assert len(made) == 1
    before = (made[0] / "model.onnx").stat().st_mtime_ns
    assert load_cross_encoder(config, FIXED, data_dir) is not None
    assert (made[0] / "model.onnx").stat().st_mtime_ns == before  # kept, not made again


def test_a_sentence_transformers_bi_encoder(python: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    states = make(python, folder, "bi-encoder")
    prefix = "sentence_transformers.models"
    modules = [
        {"path": "", "type": f"{prefix}.Transformer"},
        {"path": "1_Pooling", "type": f"{prefix}.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    model = load_bi_encoder(BiEncoderConfig(model=str(folder)), FIXED, tmp_path / "data")
    assert model is not None
    wanted = states / np.linalg.norm(states, axis=1, keepdims=True)
    vectors = model.encode_passages([passage for _, passage in PAIRS])
    np.testing.assert_allclose(vectors, wanted, atol=2e-5)


def bare_folder(folder: Path) -> ModelFiles:
    config = {"architectures": ["BertForSequenceClassification"], "num_labels": 1}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    return read_folder(folder, "org/model", "cross-encoder", "v1")


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json and no vocabulary"):
        convert.converted(bare_folder(tmp_path), tmp_path / "data")


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An interpreter that finds no torch: this one, with a folder first that has a broken torch."""
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "tokenizer.json").write_text("{}")
    files = bare_folder(tmp_path)
    with pytest.raises(ModelError, match=r"pip install 'search-sidecar\[train\]'"):
        convert.converted(files, tmp_path / "data")
    assert list((tmp_path / "data" / "converted").iterdir()) == []  # no half-made folder is left
