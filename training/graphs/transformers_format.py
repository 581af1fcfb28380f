"""A carried model's folder written as transformers and sentence-transformers load it.

For comparing runtimes on the same weights, and for training on from a carried model: the weights
are those that the sidecar serves, as they are after storage in 8 bits.
"""

import inspect
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_MAPPING

from training.graphs.bert import Array
from training.graphs.sentence_transformers_format import write_modules
from training.graphs.stored_weights import read_state

_SUFFIX = ".int8"


def write_transformers_format(folder: Path, out: Path) -> None:
    """Write the model of a carried folder to `out`: safetensors, configuration, tokenizer."""
    contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
    model = read_model(folder)
    model.save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")),
        model_max_length=contract["max_tokens"],
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(out)
    name_tokenizer_for_every_version(out / "tokenizer_config.json")
    if contract["kind"] == "bi-encoder":
        write_modules(
            out,
            dimensions=contract["dimensions"],
            pooling=contract["pooling"],
            normalize=contract["normalize"],
            max_tokens=contract["max_tokens"],
            query_prefix=contract["query_prefix"],
            passage_prefix=contract["passage_prefix"],
        )


def read_model(folder: Path) -> PreTrainedModel:
    """The torch model of a folder that `bert` or `stored_weights` wrote the weights of.

    Of the carried ones, which have no config.json: BertModel, or BertForSequenceClassification.
    Raises ValueError for weights that are missing.
    """
    graph = onnx.load(str(folder / "model.onnx"))
    state = read_state(graph)
    weights = state or _weights_of(graph)
    if (folder / "config.json").is_file():
        return _with_weights(_configured(folder), weights, folder)
    config = _config(weights)
    model = (
        BertForSequenceClassification(config)
        if config.num_labels == 1
        else BertModel(config, add_pooling_layer=False)
    )
    return _with_weights(model, weights, folder)


def _configured(folder: Path) -> PreTrainedModel:
    """The model that config.json describes, with whatever weights."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    architecture = str((config.architectures or [""])[0])
    if architecture.endswith("ForSequenceClassification"):
        return AutoModelForSequenceClassification.from_config(config)
    return AutoModel.from_config(config, **without_pooler(config))


def without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """The argument that leaves out the pooler of a trunk, for families that have one."""
    made = inspect.signature(MODEL_MAPPING[type(config)].__init__)
    return {"add_pooling_layer": False} if "add_pooling_layer" in made.parameters else {}


def _with_weights(
    model: PreTrainedModel, weights: dict[str, Array], folder: Path
) -> PreTrainedModel:
    state = {name: torch.from_numpy(weight.copy()) for name, weight in weights.items()}
    if type(model) is BertForSequenceClassification:
        state = {_full(name): weight for name, weight in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    parameters = dict(model.named_parameters())
    left = [name for name in missing if name in parameters]
    if left or unexpected:
        raise ValueError(f"{folder}: weights missing {left}, unexpected {unexpected}")
    return model.eval()


def read_weights(file: Path) -> dict[str, Array]:
    """The weights of a graph that `bert` built, by their names in a BERT's state."""
    return _weights_of(onnx.load(str(file)))


def _weights_of(graph: onnx.ModelProto) -> dict[str, Array]:
    stored = {weight.name: numpy_helper.to_array(weight) for weight in graph.graph.initializer}
    weights = {
        name: values for name, values in stored.items() if name.endswith((".weight", ".bias"))
    }
    for name, whole in stored.items():
        if name.endswith(_SUFFIX):
            full = name.removesuffix(_SUFFIX)
            blocks = whole.astype(np.float32) * stored[f"{full}.scale"][:, None]
            weights[full] = blocks.reshape(stored[f"{full}.shape"])
    return weights


def _full(name: str) -> str:
    head = name.startswith(("bert.", "classifier."))
    return name if head else f"bert.{name}"


def _config(weights: dict[str, Array]) -> BertConfig:
    words = weights["embeddings.word_embeddings.weight"]
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.layer.")}
    return BertConfig(
        vocab_size=words.shape[0],
        hidden_size=words.shape[1],
        num_hidden_layers=len(layers),
        num_attention_heads=12,
        intermediate_size=weights["encoder.layer.0.intermediate.dense.bias"].shape[0],
        max_position_embeddings=weights["embeddings.position_embeddings.weight"].shape[0],
        num_labels=1 if "classifier.weight" in weights else 2,
        pad_token_id=0,
    )


def name_tokenizer_for_every_version(path: Path) -> None:
    """transformers 5 writes a class that 4 does not know; both know this one."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2), encoding="utf-8")
