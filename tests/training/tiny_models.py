"""Random models of every family that training opens, small enough to be made in a test."""

from __future__ import annotations

import json
import string
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    ModernBertModel,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3ForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaModel,
)

from .tiny import WORDS

ENCODERS = ("bert", "xlm_roberta", "modernbert")
SIZES = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 256,
}
POSITIONS = 128
PAIRS = [
    ("tide and wave", "the dune of sand\nwarm sand drifts north"),
    ("deep harbour", "anchor, rope and sail in a deep cold harbour"),
    ("green island", "crab"),
    ("reef", "a storm breaks over the reef " * 20),
    ("what light falls south in the cold deep blue north", "light falls"),
]


def write_encoder(folder: Path, family: str, kind: str, seed: int = 0, **options) -> None:
    """A transformers folder: a sequence classifier of one label, or a bare encoder."""
    torch.manual_seed(seed)
    tokenizer = _wordpieces() if family != "xlm_roberta" else _sentence_pieces()
    model = _encoder(family, kind, tokenizer.get_vocab_size(), options)
    _spread(model)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_qwen3(folder: Path, head: str = "causal", seed: int = 0, **options) -> None:
    """A Qwen3 with a head for tokens ("causal") or for one label ("classifier")."""
    torch.manual_seed(seed)
    tokenizer = _bytes_with_answers()
    config = Qwen3Config(
        vocab_size=tokenizer.get_vocab_size(),
        head_dim=32,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
        **SIZES,
        **({"num_labels": 1} if head == "classifier" else {}),
        **options,
    )
    made = {"causal": Qwen3ForCausalLM, "classifier": Qwen3ForSequenceClassification}
    model = made[head](config)
    _spread(model)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    if head == "causal":
        (folder / "README.md").write_text(
            "---\nlicense: apache-2.0\npipeline_tag: text-ranking\n---\n"
        )


def write_sentence_transformers(folder: Path, pooling: dict, prompts: dict | None = None) -> None:
    """The files that make a bi-encoder of a transformers folder; `pooling` is 1_Pooling's."""
    package = "sentence_transformers.models"
    kinds = (("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{package}.{kind}"}
        for number, (kind, path) in enumerate(kinds)
    ]
    (folder / "1_Pooling").mkdir()
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    settings = {"prompts": prompts or {}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))


def _encoder(family: str, kind: str, words: int, options: dict) -> PreTrainedModel:
    is_pair = kind == "cross-encoder"
    labels = {"num_labels": options.pop("labels", 1)} if is_pair else {}
    shared = {"vocab_size": words, **SIZES, **labels, **options}
    if family == "bert":
        config = BertConfig(max_position_embeddings=POSITIONS, **shared)
        return (BertForSequenceClassification if is_pair else BertModel)(config)
    if family == "xlm_roberta":
        config = XLMRobertaConfig(
            max_position_embeddings=POSITIONS + 2, type_vocab_size=1, pad_token_id=1, **shared
        )
        return (XLMRobertaForSequenceClassification if is_pair else XLMRobertaModel)(config)
    config = ModernBertConfig(
        max_position_embeddings=POSITIONS,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        cls_token_id=2,
        sep_token_id=3,
        local_attention=16,
        global_attn_every_n_layers=2,
        **shared,
    )
    return (ModernBertForSequenceClassification if is_pair else ModernBertModel)(config)


def _spread(model: PreTrainedModel) -> None:
    """Weights wide enough that scores differ by more than rounding."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embeddings" not in name:
                weight.normal_(std=0.12)
            elif name.endswith("bias"):
                weight.normal_(std=0.05)


def _wordpieces() -> Tokenizer:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = list(string.ascii_lowercase + ",.?")
    pieces = [*special, *WORDS, *letters, *(f"##{each}" for each in letters)]
    known = dict.fromkeys(pieces)
    vocabulary = {piece: number for number, piece in enumerate(known)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(special)
    return tokenizer


def _sentence_pieces() -> Tokenizer:
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(each, 0.0) for each in special]
    pieces += [(f"▁{word}", -3.0) for word in WORDS]
    pieces += [(each, -8.0) for each in ["▁", *string.ascii_lowercase, ",", ".", "?"]]
    pieces += [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens([*special, "<mask>"])
    return tokenizer


def _bytes_with_answers() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = ["ye", "yes", "no"]
    vocabulary = {piece: number for number, piece in enumerate([*alphabet, *merged])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("y", "e"), ("ye", "s"), ("n", "o")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return tokenizer
