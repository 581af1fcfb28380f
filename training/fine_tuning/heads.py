"""A base's weights -> a torch model with the head that is wanted, in float32.

A head that is not there is refused and never drawn at random in silence: only `new_head` has one
made. A causal language model that is a reranker (Qwen3-Reranker) becomes a sequence classifier:

    score = h W_yes - h W_no = h (W_yes - W_no)

with the state h of the prompt's last token, the log-odds of "yes" against "no", so the one row of
the classifier's matrix is the difference of two rows of the language model's. vLLM serves the same
(https://github.com/vllm-project/vllm, classifier_from_token).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from sidecar.errors import ModelError
from training.fine_tuning.quiet import quiet_libraries
from training.fine_tuning.tokenizer import open_tokenizer
from training.graphs.transformers_format import read_model, without_pooler
from training.models.bases import Base
from training.models.spec import SPEC_FILE

HeadedModel = tuple[PreTrainedModel, str]  # and one of model_spec.HEADS
_CAUSAL, _CLASSIFIER = "ForCausalLM", "ForSequenceClassification"
_ANSWERS = ("yes", "no")
_COUNTED = re.compile(r"(position_ids|token_type_ids|inv_freq)$")  # no weights, old checkpoints
_RERANKS = re.compile(r"^pipeline_tag:\s*text-ranking\s*$", re.MULTILINE)


def open_bi_encoder(base: Base) -> HeadedModel:
    """The model without any head. Raises ModelError."""
    if _is_onnx(base):
        return _check_onnx(base, _read_onnx(base), has_head=False), "none"
    config = read_config(base)
    architecture = architecture_of(config)
    if architecture.endswith(_CLASSIFIER):
        raise ModelError(
            f"{base.name} is a cross-encoder ({architecture}), a bi-encoder is wanted here"
        )
    if architecture.endswith(_CAUSAL) and not _says_how_it_pools(base):
        raise ModelError(
            f"{base.name} is a language model ({architecture}) with no 1_Pooling/config.json: "
            "nothing says which of its states are a text's vector"
        )
    return _trunk(base, config), "none"


def open_cross_encoder(base: Base, new_head: bool) -> HeadedModel:
    """The model with one logit a pair. Raises ModelError."""
    if _is_onnx(base):
        model = _read_onnx(base)
        if new_head and not hasattr(model, "classifier"):
            return _with_new_head(base, model), "classifier"
        return _check_onnx(base, model, has_head=True), "classifier"
    config = read_config(base)
    architecture = architecture_of(config)
    if architecture.endswith(_CLASSIFIER):
        return _classifier(base, config), "classifier"
    if architecture.endswith(_CAUSAL):
        if not (new_head or _is_reranker(base)):
            raise ModelError(
                f"{base.name} is a language model ({architecture}) and does not say that it is a "
                "reranker (README.md, pipeline_tag: text-ranking): reranker.new_head = true begins "
                'with its rows for "yes" and "no"'
            )
        return _yes_no(base, config), "yes_no"
    if not new_head:
        raise ModelError(
            f"{base.name} is {architecture or 'a model'} without a reranker's head: "
            "reranker.new_head = true trains a new one"
        )
    return _with_new_head(base, _trunk(base, config)), "classifier"


def read_config(base: Base) -> PreTrainedConfig:
    """Its config.json. Raises ModelError."""
    try:
        return AutoConfig.from_pretrained(base.folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{base.folder}: config.json cannot be used: {error}") from error


def architecture_of(config: PreTrainedConfig) -> str:
    """The first that it names, "" where it names none."""
    return str((config.architectures or [""])[0])


def _is_onnx(base: Base) -> bool:
    return (base.folder / "model.onnx").is_file() and not any(base.folder.glob("*.safetensors"))


def _read_onnx(base: Base) -> PreTrainedModel:
    try:
        return read_model(base.folder)
    except (ValueError, KeyError) as error:
        raise ModelError(
            f"{base.folder / 'model.onnx'} does not tell the weights of its model ({error}): only "
            "files that training wrote, of a model without a prefix, can be trained on"
        ) from error


def _check_onnx(base: Base, model: PreTrainedModel, has_head: bool) -> PreTrainedModel:
    if hasattr(model, "classifier") != has_head:
        found, wanted = ("bi-encoder", "cross-encoder")[:: 1 if has_head else -1]
        raise ModelError(f"{base.name} is a {found}, a {wanted} is wanted here")
    return model


def _trunk(base: Base, config: PreTrainedConfig) -> PreTrainedModel:
    """The model without heads, and without a pooler that nothing reads."""
    model, found = _load(AutoModel, base, config, **without_pooler(config))
    _check_missing(base, found["missing_keys"])
    return model


def _classifier(base: Base, config: PreTrainedConfig) -> PreTrainedModel:
    if config.num_labels != 1:
        raise ModelError(
            f"{base.name} has {config.num_labels} labels: a reranker has one (num_labels 1)"
        )
    model, found = _load(AutoModelForSequenceClassification, base, config)
    _check_missing(base, found["missing_keys"])
    _check_unexpected(base, found["unexpected_keys"], architecture_of(config))
    return model


def _yes_no(base: Base, config: PreTrainedConfig) -> PreTrainedModel:
    """The causal model's trunk below one row: that of "yes" less that of "no"."""
    tokenizer = open_tokenizer(base, has_types=False)
    causal, found = _load(AutoModelForCausalLM, base, config)
    _check_missing(base, found["missing_keys"])
    _check_unexpected(base, found["unexpected_keys"], architecture_of(config))
    rows = causal.get_output_embeddings().weight.detach()  # (vocabulary, hidden)
    yes, no = (_token_id(base, tokenizer, answer) for answer in _ANSWERS)
    return _as_classifier(causal, rows[yes] - rows[no], tokenizer.pad_token_id)


def _as_classifier(causal: PreTrainedModel, row: torch.Tensor, pad_id: int) -> PreTrainedModel:
    config = causal.config
    config.num_labels, config.pad_token_id, config.use_cache = 1, pad_id, False
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    with torch.device("meta"):  # its own trunk is not wanted
        model = kind(config)
    trunk = getattr(causal, causal.base_model_prefix)
    setattr(model, model.base_model_prefix, trunk)
    model.score = torch.nn.Linear(len(row), 1, bias=False, device=row.device)
    with torch.no_grad():
        model.score.weight.copy_(row)
    trunk.config = config
    return model.eval()


def _with_new_head(base: Base, trunk: PreTrainedModel) -> PreTrainedModel:
    """A classifier of one label over a trunk; its head is drawn, always the same."""
    config = trunk.config
    config.num_labels = 1
    kind = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if kind is None:
        raise ModelError(f"{base.name}: transformers has no classifier for {config.model_type}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config)
    own = getattr(model, model.base_model_prefix)
    missing, _ = own.load_state_dict(trunk.state_dict(), strict=False)
    _check_missing(base, [name for name in missing if not name.startswith("pooler.")])
    return model.eval()


@quiet_libraries()
def _load(
    loader: Any, base: Base, config: PreTrainedConfig, **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """In float32: an optimizer's steps are lost in the 8 bits that bfloat16 has."""
    try:
        model, found = loader.from_pretrained(
            base.folder,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(f"{base.name} cannot be opened: {error}") from error
    return model.eval(), found


def _check_missing(base: Base, names: Collection[str]) -> None:
    missing = sorted(name for name in names if not _COUNTED.search(name))
    if missing:
        raise ModelError(
            f"{base.folder} lacks weights of its own model ({_some(missing)}): they would be drawn "
            "at random; save it anew from where it was trained"
        )


def _check_unexpected(base: Base, names: Collection[str], architecture: str) -> None:
    """A checkpoint with weights that its architecture has no place for is another model's."""
    unexpected = sorted(name for name in names if not _COUNTED.search(name))
    if unexpected:
        raise ModelError(
            f"{base.folder} holds weights that {architecture} has no place for "
            f"({_some(unexpected)}): config.json names another architecture than they are of"
        )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _token_id(base: Base, tokenizer: Any, answer: str) -> int:
    found = tokenizer.backend_tokenizer.token_to_id(answer)
    if found is None:
        raise ModelError(f"{base.name} has no token {answer!r}: it cannot rerank by yes and no")
    return int(found)


def _says_how_it_pools(base: Base) -> bool:
    return any((base.folder / name).is_file() for name in ("modules.json", SPEC_FILE))


def _is_reranker(base: Base) -> bool:
    """Whether the folder of a language model says so: its card, or sentence-transformers' files."""
    card, modules = base.folder / "README.md", base.folder / "modules.json"
    says = card.is_file() and _RERANKS.search(card.read_text(encoding="utf-8", errors="replace"))
    return bool(says) or (modules.is_file() and "LogitScore" in modules.read_text("utf-8"))
