"""Fine-tuning few weights: LoRA, QLoRA and prefix tuning, by peft.

    LoRA     W + alpha/r B A beside every linear layer of the trunk (Hu et al., arXiv 2106.09685)
    QLoRA    the same beside weights stored in 4 bits, NF4 (Dettmers et al., arXiv 2305.14314)
    prefix   learnt keys and values before every layer's own (Li and Liang, arXiv 2101.00190)

A reranker's head is trained whole, saved with the adapter and loaded with it (modules_to_save):
beside a frozen head that was drawn at random, no adapter learns to rank.
"""

from __future__ import annotations

import importlib.util
import inspect
import tempfile
from pathlib import Path
from typing import Any

import peft
import torch
from torch import nn
from transformers import PreTrainedModel

from sidecar.errors import ConfigurationError
from training.config import FineTuneConfig
from training.fine_tuning.quiet import quiet_libraries

_TASKS = {
    "bi-encoder": peft.TaskType.FEATURE_EXTRACTION,
    "cross-encoder": peft.TaskType.SEQ_CLS,
}
_NAMED_BY_PEFT = ("classifier", "score")  # heads that it trains and saves by itself
_PREFIX_DEVIATION = 0.02
_CONFIG = "adapter_config.json"


@quiet_libraries()
def with_adapter(model: PreTrainedModel, config: FineTuneConfig, kind: str) -> PreTrainedModel:
    """The model to train by `config.method`; "full" gives the model itself.

    Raises ConfigurationError: QLoRA without a GPU or bitsandbytes, prefix tuning of a family whose
    attention takes no prefix.
    """
    if config.method == "full":
        return model
    if config.method == "prefix":
        return _with_prefix(model, config, kind)
    if config.method == "qlora":
        if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
            raise ConfigurationError("method qlora needs a GPU and bitsandbytes: use lora without")
        model = in_four_bits(model, torch.cuda.current_device(), config.checkpointing)
    made = peft.LoraConfig(
        task_type=_TASKS[kind],
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_targets) or linear_layers(model),
        modules_to_save=[name for name in head_modules(model) if name not in _NAMED_BY_PEFT],
    )
    return peft.get_peft_model(model, made)


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """A plain model with the scores of one that has an adapter; one that has none is itself.

    Raises ConfigurationError for a prefix, which is no weight of the model.
    """
    if not isinstance(model, peft.PeftModel):
        return model
    if has_prefix(model):
        raise ConfigurationError("a prefix cannot be merged into the weights")
    if getattr(model.get_base_model(), "is_quantized", False):
        model = _on_plain_weights(model)
    plain = model.merge_and_unload(safe_merge=True)
    plain.requires_grad_(True)
    return plain.eval()


def without_prefix(model: PreTrainedModel) -> PreTrainedModel:
    """The plain base of a prefix-tuned model, with its trained head; the prefix is left behind, so
    it scores otherwise. The prefix-tuned model is of no more use."""
    plain = model.get_base_model()
    for name, module in list(plain.named_modules()):
        if isinstance(module, peft.utils.ModulesToSaveWrapper):
            parent, _, own = name.rpartition(".")
            trained = module.modules_to_save[model.active_adapter]
            setattr(plain.get_submodule(parent), own, trained)
    plain.requires_grad_(True)
    return plain.eval()


@quiet_libraries()
def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """adapter_config.json and adapter_model.safetensors, with the head."""
    model.save_pretrained(folder, save_embedding_layers=False)


@quiet_libraries()
def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """A plain base with a saved adapter, frozen and in evaluation mode."""
    return peft.PeftModel.from_pretrained(model, folder).eval()


def is_prefix(folder: Path) -> bool:
    """Whether an adapter's folder holds a prefix, which its base is nothing without."""
    return (folder / _CONFIG).is_file() and peft.PeftConfig.from_pretrained(
        str(folder)
    ).is_prompt_learning


def has_prefix(model: PreTrainedModel) -> bool:
    """Whether it was prefix tuned."""
    return isinstance(model, peft.PeftModel) and model.active_peft_config.is_prompt_learning


def head_modules(model: PreTrainedModel) -> list[str]:
    """Names of a classifier's modules outside of its trunk, and of the pooler before them."""
    if not type(model).__name__.endswith("ForSequenceClassification"):
        return []
    trunk = model.base_model_prefix
    heads = [
        name
        for name, module in model.named_children()
        if name != trunk and next(module.parameters(), None) is not None
    ]
    pooler = getattr(getattr(model, trunk), "pooler", None)
    return heads if pooler is None else [*heads, f"{trunk}.pooler"]


def linear_layers(model: PreTrainedModel) -> list[str]:
    """Names of all linear layers that are not the head's."""
    heads = tuple(head_modules(model))
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(heads or "\0")
    ]


def _with_prefix(model: PreTrainedModel, config: FineTuneConfig, kind: str) -> PreTrainedModel:
    trunk = getattr(model, model.base_model_prefix, model)
    if "past_key_values" not in inspect.signature(trunk.forward).parameters:
        raise ConfigurationError(
            f"method prefix: {type(model).__name__} takes no keys and values before its own (BERT, "
            "RoBERTa, XLM-R and Qwen3 do): use lora"
        )
    made = peft.PrefixTuningConfig(
        task_type=_TASKS[kind],
        num_virtual_tokens=config.prefix_tokens,
        modules_to_save=[name for name in head_modules(model) if name not in _NAMED_BY_PEFT],
    )
    prefixed = peft.get_peft_model(model, made)
    for encoder in prefixed.prompt_encoder.values():
        # As drawn by default, of variance 1, it would drown what the model has learnt.
        nn.init.normal_(encoder.embedding.weight, std=_PREFIX_DEVIATION)
    return prefixed


def in_four_bits(model: PreTrainedModel, device: int | str, checkpointing: bool) -> PreTrainedModel:
    """The model read again on a device, all linear layers but the head's in NF4."""
    import transformers

    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=head_modules(model) or None,
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        quantized = type(model).from_pretrained(
            folder,
            config=model.config,
            quantization_config=quantization,
            device_map={"": device},
            dtype=torch.float32,
        )
    return peft.prepare_model_for_kbit_training(quantized, use_gradient_checkpointing=checkpointing)


def _on_plain_weights(model: Any) -> Any:
    """The adapter over the values that its 4-bit weights stand for: merged there, nothing is
    rounded once more."""
    with tempfile.TemporaryDirectory() as folder:
        save_adapter(model, Path(folder))
        plain = model.unload().dequantize().float()
        return load_adapter(plain, Path(folder))
