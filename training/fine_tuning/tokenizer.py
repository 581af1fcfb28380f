"""The tokenizer of a base, from the very file that would serve: tokenizer.json.

transformers may build another one from a class and a vocabulary; that is done only where a folder
has no tokenizer.json.
"""

from __future__ import annotations

from typing import Any

import tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sidecar.errors import ModelError
from sidecar.models.tokenizing import Tokenizer
from training.fine_tuning.reading import TYPES
from training.models.bases import Base

_USUAL = {  # names of special tokens, where the folder says none
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
    "bos_token": (),
    "eos_token": (),
}


def open_tokenizer(base: Base, has_types: bool) -> PreTrainedTokenizerFast:
    """Padding behind, with the token that fills batches when it serves. Raises ModelError."""
    backend = _backend(base)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_input_names=["input_ids", *([TYPES] if has_types else []), "attention_mask"],
        padding_side="right",
        **_special_tokens(base, backend),
    )


def _backend(base: Base) -> tokenizers.Tokenizer:
    file = base.folder / "tokenizer.json"
    try:
        if file.is_file():
            backend = tokenizers.Tokenizer.from_file(str(file))
        else:
            made = AutoTokenizer.from_pretrained(base.folder, local_files_only=True)
            backend = made.backend_tokenizer
    except Exception as error:  # the library raises bare Exception
        raise ModelError(
            f"{base.folder} holds no tokenizer.json that can be read, and no vocabulary: {error}"
        ) from error
    backend.no_truncation()
    return backend


def _special_tokens(base: Base, backend: tokenizers.Tokenizer) -> dict[str, str]:
    vocabulary = backend.get_vocab(with_added_tokens=True)
    told = {**base.read("special_tokens_map.json"), **base.read("tokenizer_config.json")}
    found = {}
    for role, usual in _USUAL.items():
        names = (_content(told.get(role)), *usual)
        known = next((name for name in names if name in vocabulary), None)
        if known is not None:
            found[role] = known
    copied = tokenizers.Tokenizer.from_str(backend.to_str())
    pad_id = Tokenizer(copied, max_tokens=1).pad_id
    return {**found, "pad_token": backend.id_to_token(pad_id) or ""}


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else str(token or "")
