"""What sentence-transformers reads beside a bi-encoder's weights: its modules and its prompts.

https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

from pathlib import Path

from training.run_files import write_json

_PACKAGE = "sentence_transformers.models"
_POOLING_KEYS = {
    "mean": "mean_tokens",
    "cls": "cls_token",
    "last": "lasttoken",
    "max": "max_tokens",
}


def write_modules(
    folder: Path,
    *,
    dimensions: int,
    pooling: str,
    normalize: bool,
    max_tokens: int,
    query_prefix: str,
    passage_prefix: str,
) -> None:
    """Into the folder of a trunk as transformers has it; `pooling`: as ModelSpec has it."""
    kinds = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{_PACKAGE}.{kind}"}
        for number, (kind, path) in enumerate(kinds[: 3 if normalize else 2])
    ]
    for _, path in kinds[1 : len(modules)]:
        (folder / path).mkdir(exist_ok=True)
    modes = {f"pooling_mode_{key}": mode == pooling for mode, key in _POOLING_KEYS.items()}
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": query_prefix, "document": passage_prefix},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": dimensions} | modes
    )
    write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": max_tokens, "do_lower_case": False},
    )
    write_json(folder / "config_sentence_transformers.json", settings)
