"""Runs under the interpreter that has vLLM and torch: models for the tests, and their true scores.

    python reference.py FOLDER < {"pairs": [[query, passage], ...], "cross_encoder": folder}

Writes a tiny random Qwen3 with a tokenizer of its own to FOLDER; prints what transformers gives in
fp32: {"cross_encoder": [...], "qwen3": [...], "qwen3_tokens": [...]}.
"""

import json
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

PAD = "<|endoftext|>"
SPECIAL = [PAD, "<|im_start|>", "<|im_end|>"]
# As https://huggingface.co/Qwen/Qwen3-Reranker-0.6B publishes it.
PROMPT = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages that "
    "answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n"
)


def main() -> None:
    folder, asked = sys.argv[1], json.load(sys.stdin)
    torch.manual_seed(5)
    write_qwen3(folder, [text for pair in asked["pairs"] for text in pair])
    given = {"cross_encoder": score_pairs(asked["cross_encoder"], asked["pairs"])}
    given["qwen3"], given["qwen3_tokens"] = score_prompts(folder, asked["pairs"])
    print(json.dumps(given))


def write_qwen3(folder: str, texts: list[str]) -> None:
    """Weights spread wide enough that scores differ by more than rounding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, PROMPT, *["yes", "no"] * 100], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token="<|im_end|>"
    )
    fast.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        initializer_range=0.3,
        tie_word_embeddings=True,
        pad_token_id=fast.pad_token_id,
        eos_token_id=fast.eos_token_id,
    )
    Qwen3ForCausalLM(config).to(torch.float32).save_pretrained(folder)


def score_pairs(folder: str, pairs: list[list[str]]) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return [
            model(**tokenizer(query, passage, return_tensors="pt")).logits.item()
            for query, passage in pairs
        ]


def score_prompts(folder: str, pairs: list[list[str]]) -> tuple[list[float], list[int]]:
    """The logit of "yes" less that of "no" after each prompt, and the tokens of each prompt."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    no, yes = tokenizer.convert_tokens_to_ids(["no", "yes"])
    scores, counts = [], []
    for query, document in pairs:
        ids = tokenizer(PROMPT.format(query=query, document=document), return_tensors="pt")
        with torch.inference_mode():
            last = model(**ids).logits[0, -1]
        scores.append((last[yes] - last[no]).item())
        counts.append(ids["input_ids"].shape[1])
    return scores, counts


if __name__ == "__main__":
    main()
