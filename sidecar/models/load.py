"""The one place that turns a configured model into an encoder that serves.

name -> folder (`hub.py`) -> files and contract (`formats.py`) -> ONNX (`convert.py`, if need be)
-> runtime (`calibration.py` chooses and checks it) -> encoder.
"""

from __future__ import annotations

from pathlib import Path

from sidecar.config import BiEncoderConfig, RerankerConfig, RuntimeConfig
from sidecar.models.base import BiEncoder, CrossEncoder
from sidecar.models.bi_encoder import LocalBiEncoder
from sidecar.models.convert import converted
from sidecar.models.cross_encoder import LocalCrossEncoder
from sidecar.models.formats import ModelFiles, read_folder
from sidecar.models.hub import find_folder
from sidecar.models.openvino_runtime import OpenVinoRuntime
from sidecar.models.runtime import Choice
from sidecar.models.tokenizing import Tokenizer


def load_bi_encoder(
    config: BiEncoderConfig, runtime: RuntimeConfig, data_dir: Path
) -> BiEncoder | None:
    """The bi-encoder of a configuration, None if it names none. Raises ModelError."""
    if not config.model:
        return None
    files, onnx, tokenizer = _open(config.model, config.revision, "bi-encoder", data_dir)
    chosen = OpenVinoRuntime(onnx, Choice("openvino", "fp32"), runtime.threads or 2)
    return LocalBiEncoder(files.contract, tokenizer, chosen, config)


def load_cross_encoder(
    config: RerankerConfig, runtime: RuntimeConfig, data_dir: Path
) -> CrossEncoder | None:
    """The cross-encoder of a configuration, None if it names none. Raises ModelError."""
    if not config.model:
        return None
    files, onnx, tokenizer = _open(config.model, config.revision, "cross-encoder", data_dir)
    chosen = OpenVinoRuntime(onnx, Choice("openvino", "fp32"), runtime.threads or 2)
    return LocalCrossEncoder(files.contract, tokenizer, chosen)


def _open(
    name: str, revision: str, kind: str, data_dir: Path
) -> tuple[ModelFiles, Path, Tokenizer]:
    folder, hub_revision = find_folder(name, revision)
    files = read_folder(folder, name, kind, hub_revision)
    if files.onnx is not None:
        onnx, tokenizer = files.onnx, files.tokenizer
    else:
        made = converted(files, data_dir)
        onnx, tokenizer = made / "model.onnx", made / "tokenizer.json"
    return files, onnx, Tokenizer.open(tokenizer, files.contract.max_tokens)
