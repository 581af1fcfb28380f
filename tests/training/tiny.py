"""A base model and two judged sets, small enough for a run in seconds."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

WORDS = """tide wave dune sand storm shell gull crab rope sail mast keel anchor harbour island reef
    north south light deep cold warm green blue grows falls breaks holds drifts""".split()  # noqa: SIM905
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_base(folder: Path) -> None:
    """A random BERT of two layers with a word-level vocabulary, as transformers saves it."""
    torch.manual_seed(0)
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL, *WORDS, "a", "##a"])}
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=384,
        num_hidden_layers=2,
        num_attention_heads=12,
        intermediate_size=384,
        max_position_embeddings=320,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_set(folder: Path, count: int = 24) -> None:
    """`count` documents of a few sentences, and a judged train query for every second one."""
    (folder / "qrels").mkdir(parents=True)
    documents, queries, judgments = [], [], ["query-id\tcorpus-id\tscore"]
    for number in range(count):
        words = [WORDS[(number * 7 + step * 5) % len(WORDS)] for step in range(18)]
        sentences = [" ".join(words[at : at + 6]).capitalize() + "." for at in (0, 6, 12)]
        title, text = " ".join(words[2:5]), " ".join(sentences)
        documents.append({"_id": f"d{number}", "title": title, "text": text})
        if number % 2 == 0:
            queries.append({"_id": f"q{number}", "text": " ".join(words[7:10])})
            judgments.append(f"q{number}\td{number}\t1")
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "qrels" / "train.tsv").write_text("\n".join(judgments))
