"""The prompt of a decoder reranker, and what vLLM must be told to serve it as a classifier.

`qwen3_reranker.jinja` yields the format that Qwen3-Reranker was published with
(https://huggingface.co/Qwen/Qwen3-Reranker-0.6B): the logit of "yes" less that of "no" after it is
the score. vLLM renders it on the server; here only its tokens are counted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import tokenizers

from sidecar.errors import ModelError
from sidecar.models.tokenizing import Tokenizer

QWEN3_RERANKER = Path(__file__).with_name("qwen3_reranker.jinja")
DECODER_OVERRIDES = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
_TAGS = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL)
_MARGIN_TOKENS = 48  # for an instruction, and for tokens that merge with the texts around


def template_file(configured: str) -> Path:
    """The configured template, else Qwen3-Reranker's. Raises ModelError if there is none."""
    path = Path(configured).expanduser() if configured else QWEN3_RERANKER
    if not path.is_file():
        raise ModelError(f"vllm.chat_template: there is no file {path}")
    return path


def template_tokens(template: Path, tokenizer: Path) -> int:
    """Tokens of a prompt besides its two texts, a few more than there are."""
    text = _TAGS.sub("", template.read_text(encoding="utf-8"))
    read = tokenizers.Tokenizer.from_file(str(tokenizer))
    return len(read.encode(text).ids) + _MARGIN_TOKENS


def digest_of_template(tokenizer: Tokenizer, template: Path | None) -> str:
    """Hex digest of what, besides weights and budgets, makes a score."""
    digest = hashlib.blake2b(tokenizer.digest.encode(), digest_size=16)
    digest.update(repr((dataclasses.astuple(tokenizer.double), tokenizer.max_tokens)).encode())
    if template is not None:
        digest.update(template.read_bytes())
        digest.update(json.dumps(DECODER_OVERRIDES, sort_keys=True).encode())
    return digest.hexdigest()
