"""What training reads is what the sidecar reads, token by token."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

pytest.importorskip("torch", reason="needs the [train] extra: make test-training")

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from sidecar.config import BiEncoderConfig
from sidecar.models.bi_encoder import LocalBiEncoder
from sidecar.models.contract import ModelContract
from sidecar.models.cross_encoder import LocalCrossEncoder
from sidecar.models.hub import CARRIED
from sidecar.models.runtime import Batch, Choice
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.vllm.template import QWEN3_RERANKER
from sidecar.types import Truncation
from training.fine_tuning.opening import open_base
from training.fine_tuning.prompt import prompt_of
from training.fine_tuning.reading import PairReader, TextReader, pad

from .tiny_models import PAIRS, write_encoder, write_qwen3

FAMILIES = ("carried", "bert", "xlm_roberta", "modernbert")
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(["tide", "Wave,", "[MASK]", "</s>", "über", "砂丘", "x" * 300]), max_size=90
    ).map(" ".join),
)


class Seen:
    """A runtime that keeps the batches it is given and answers nothing."""

    choice, concurrency = Choice("none", "fp32"), 1

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def run(self, batch, cancellation=None):
        self.batches.append(batch)
        raise RuntimeError("seen")

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """By (family, kind): a base, and the tokenizer file that would serve."""
    made = {}
    for kind, name in (("cross-encoder", "pair-minilm-l6"), ("bi-encoder", "all-minilm-l6-v2")):
        made["carried", kind] = open_base(name, kind), CARRIED / name / "tokenizer.json"
        for family in FAMILIES[1:]:
            folder = tmp_path_factory.mktemp(family)
            write_encoder(folder, family, kind)
            budgets = (12, 50) if kind == "cross-encoder" else (12, 60)
            made[family, kind] = open_base(str(folder), kind, *budgets), folder / "tokenizer.json"
    return made


def contract_of(spec, **others):
    return ModelContract(
        "served",
        spec.kind,
        "1",
        max_tokens=spec.max_tokens,
        max_query_tokens=spec.query_tokens,
        max_passage_tokens=spec.passage_tokens,
        **others,
    )


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(query=TEXTS, passage=TEXTS)
def test_pairs_are_those_of_the_server(family, opened, query, passage):
    base, file = opened[family, "cross-encoder"]
    spec = base.spec
    served = LocalCrossEncoder(contract_of(spec), Tokenizer.open(file, spec.max_tokens), Seen())
    (expected,) = served.tokenize(query, [passage], Truncation(512, 512))
    read = PairReader(base.tokenizer, spec).read(query, passage)
    assert read.ids == expected.pairs[0].input_ids
    if read.types is not None:
        assert read.types == expected.pairs[0].token_type_ids
    assert len(read.ids) <= spec.max_tokens


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_texts_are_those_of_the_server(family, opened, text):
    base, file = opened[family, "bi-encoder"]
    spec = dataclasses.replace(base.spec, query_prefix="query: ", passage_prefix="passage: ")
    reader, seen = TextReader(base.tokenizer, spec), Seen()
    contract = contract_of(spec, dimensions=128, query_prefix="query: ", passage_prefix="passage: ")
    tokenizer = Tokenizer.open(file, spec.max_tokens)
    served = LocalBiEncoder(contract, tokenizer, seen, BiEncoderConfig(max_passage_tokens=512))
    for encode, read in (
        (served.encode_queries, reader.query),
        (served.encode_passages, reader.passage),
    ):
        with pytest.raises(RuntimeError, match="seen"):
            encode([text])
        batch = seen.batches.pop()
        kept = batch.attention_mask[0].sum()
        assert tuple(read(text).ids) == tuple(batch.input_ids[0, :kept].tolist())
        assert not batch.token_type_ids.any()
    served.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_pairs_are_those_of_transformers(family, opened, tmp_path):
    """An implementation of its own, which counts both texts together."""
    base, _ = opened[family, "cross-encoder"]
    base.tokenizer.save_pretrained(tmp_path)
    oracle = AutoTokenizer.from_pretrained(tmp_path)
    reader = PairReader(base.tokenizer, base.spec)
    for query, passage in PAIRS[:4]:
        query = " ".join(query.split()[:2])
        special = oracle.num_special_tokens_to_add(pair=True)
        own = len(oracle(query, add_special_tokens=False)["input_ids"])
        room = special + own + base.spec.passage_tokens
        expected = oracle(query, passage, truncation="only_second", max_length=room)
        read = reader.read(query, passage)
        assert list(read.ids) == expected["input_ids"]
        assert (read.types is None) == ("token_type_ids" not in expected)
        if read.types is not None:
            assert list(read.types) == expected["token_type_ids"]


def test_both_texts_are_cut_to_their_own_budgets(opened):
    base, _ = opened["bert", "cross-encoder"]
    reader = PairReader(base.tokenizer, base.spec)
    at, above = (reader.read("tide " * n, "wave " * m) for n, m in ((12, 50), (13, 51)))
    assert len(at.ids) == 12 + 50 + 3
    assert at == above
    assert reader.read("tide " * 11, "wave " * 50) != at


def test_a_decoder_reads_the_prompt_that_is_served(tmp_path):
    jinja2 = pytest.importorskip("jinja2")
    write_qwen3(tmp_path)
    base = open_base(str(tmp_path), "cross-encoder", 8, 40)
    reader = PairReader(base.tokenizer, base.spec)
    served = Tokenizer.open(tmp_path / "tokenizer.json", base.spec.max_tokens)
    backend = base.tokenizer.backend_tokenizer
    rendered = jinja2.Environment().from_string(QWEN3_RERANKER.read_text())
    for query, passage in [*PAIRS, ("{query} {passage}", "{passage} {query} {{ query }}")]:
        (cut,) = served.cut_texts(query, [passage], Truncation(8, 40))
        messages = [
            {"role": "query", "content": cut.pairs[0].query},
            {"role": "document", "content": cut.pairs[0].passage},
        ]
        expected = backend.encode(rendered.render(messages=messages)).ids
        assert list(reader.read(query, passage).ids) == expected


def test_the_prompt_is_the_published_one():
    """https://huggingface.co/Qwen/Qwen3-Reranker-0.6B, by transformers."""
    task = "Given a web search query, retrieve relevant passages that answer the query"
    before = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query "
        'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n"
    )
    pair = f"<Instruct>: {task}\n<Query>: {{query}}\n<Document>: {{passage}}"
    after = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert prompt_of(QWEN3_RERANKER) == before + pair + after


def test_batches_are_padded_behind(opened):
    base, _ = opened["xlm_roberta", "cross-encoder"]
    reader = PairReader(base.tokenizer, base.spec)
    read = [reader.read(query, passage) for query, passage in PAIRS]
    batch = pad(read, base.tokenizer)
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["input_ids"].shape == (len(PAIRS), max(len(each.ids) for each in read))
    for row, each in enumerate(read):
        assert batch["input_ids"][row].tolist()[: len(each.ids)] == list(each.ids)
        assert set(batch["input_ids"][row].tolist()[len(each.ids) :]) <= {1}  # <pad>
        assert batch["attention_mask"][row].sum() == len(each.ids)


def test_readers_travel_to_worker_processes(opened):
    base, _ = opened["bert", "cross-encoder"]
    reader = PairReader(base.tokenizer, base.spec)
    again = pickle.loads(pickle.dumps(reader))
    assert again.read(*PAIRS[0]) == reader.read(*PAIRS[0])
