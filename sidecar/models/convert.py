"""safetensors -> ONNX, once, in a process of its own: the serving process never imports torch.

Run as `python -m sidecar.models.convert FOLDER TARGET KIND`; `converted` does so and keeps the
result under the data folder by the digest of the weights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sidecar.errors import ModelError
from sidecar.models.formats import ModelFiles
from sidecar.storage.files import digest_of

PYTHON = sys.executable  # the interpreter that converts; it needs the [train] extra
_FORMAT = 1  # part of the folder's name: raise it when the graph changes
_OPSET = 17
_EXIT_NO_TORCH = 3
_VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "sentencepiece.bpe.model",
    "spiece.model",
)
_NEEDS_TRAIN = (
    "its weights come only as safetensors, and converting them once needs torch and transformers: "
    "pip install 'search-sidecar[train]', start once, and the result is kept"
)


def converted(files: ModelFiles, data_dir: Path) -> Path:
    """A folder with `model.onnx` and `tokenizer.json` made from safetensors. Raises ModelError."""
    if not any((files.folder / name).is_file() for name in _VOCABULARIES):
        raise ModelError(f"{files.folder} holds no tokenizer.json and no vocabulary")
    sources = [*files.safetensors, files.folder / "config.json"]
    target = data_dir / "converted" / f"{digest_of(*sources)[:32]}-{_FORMAT}"
    if (target / "model.onnx").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "model"
        made.mkdir()
        _run_conversion(files, made)
        if not target.exists():  # another start may have been faster
            os.replace(made, target)
    return target


def _run_conversion(files: ModelFiles, target: Path) -> None:
    name = files.contract.name
    command = [PYTHON, "-m", "sidecar.models.convert", str(files.folder), str(target)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    root = str(Path(__file__).parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [root, environment.get("PYTHONPATH", "")])
    )
    done = subprocess.run(
        [*command, files.contract.kind], env=environment, capture_output=True, text=True
    )
    if done.returncode == _EXIT_NO_TORCH:
        raise ModelError(f"{name}: {_NEEDS_TRAIN}")
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ModelError(f"{name} cannot be converted to ONNX: {lines[-1]}")


def _convert(folder: Path, target: Path, kind: str) -> None:
    """Writes `model.onnx` (logits, or the last hidden state) and `tokenizer.json`."""
    import torch
    import transformers

    loader = (
        transformers.AutoModelForSequenceClassification
        if kind == "cross-encoder"
        else transformers.AutoModel
    )
    # "eager" attention exports as the plain MatMul, Softmax, MatMul that runtimes fuse themselves.
    model = loader.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32)
    output = "logits" if kind == "cross-encoder" else "last_hidden_state"
    _export(model, output, target / "model.onnx")
    _write_tokenizer(folder, target)


def _export(model: Any, output: str, path: Path) -> None:
    """One ONNX file with dynamic batch and tokens, whose only output is the model's first."""
    import torch

    names = ["input_ids", "attention_mask"]
    if (getattr(model.config, "type_vocab_size", 0) or 0) > 1:
        names.append("token_type_ids")

    class FirstOutput(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arrays: Any) -> Any:
            return self.model(**dict(zip(names, arrays, strict=True)), return_dict=False)[0]

    ids = torch.arange(4, 20).reshape(2, 8)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    axes = {0: "batch", 1: "tokens"}
    with torch.no_grad():
        torch.onnx.export(
            FirstOutput().eval(),
            (ids, mask, torch.zeros_like(ids))[: len(names)],
            str(path),
            input_names=names,
            output_names=[output],
            dynamic_axes={**dict.fromkeys(names, axes), output: axes},
            opset_version=_OPSET,
            dynamo=False,
        )


def _write_tokenizer(folder: Path, target: Path) -> None:
    if (folder / "tokenizer.json").is_file():
        shutil.copyfile(folder / "tokenizer.json", target / "tokenizer.json")
        return
    import transformers

    transformers.AutoTokenizer.from_pretrained(folder, use_fast=True).save_pretrained(target)


def _main(folder: str, target: str, kind: str) -> int:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        return _EXIT_NO_TORCH
    _convert(Path(folder), Path(target), kind)
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
