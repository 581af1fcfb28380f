"""Against the tokenizers library's own pair encoding and truncation."""

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from sidecar.errors import ModelError
from sidecar.models.hub import CARRIED
from sidecar.models.tokenizing import Tokenizer

CORPUS = [
    "How long do you boil eggs? Lower the eggs into boiling water and cook six minutes.",
    "Remove duplicate lines but keep order, or remove the order but keep duplicates.",
    "Die Eier kochen, bis das Wasser über den Rand läuft. 鸡蛋要煮多久",
]


def wordpiece() -> tokenizers.Tokenizer:
    """BERT's: [CLS] query [SEP] passage [SEP], types 0 and 1."""
    return tokenizers.Tokenizer.from_file(str(CARRIED / "pair-minilm-l6" / "tokenizer.json"))


def byte_pairs() -> tokenizers.Tokenizer:
    """RoBERTa's: <s> query </s></s> passage </s>, all types 0."""
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


def unigram() -> tokenizers.Tokenizer:
    """XLM-R's: the same template, SentencePiece's pieces."""
    tokenizer = tokenizers.Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=specials, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


MAKERS = [wordpiece, byte_pairs, unigram]
TEXTS = st.text(st.sampled_from("ab eé.鸡蛋\n\t '1"), max_size=60)


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__)
def both(request: pytest.FixtureRequest) -> tuple[tokenizers.Tokenizer, Tokenizer]:
    """The library's own, and ours over a second copy, since ours changes its settings."""
    reference = request.param()
    reference.no_truncation()
    reference.no_padding()
    return reference, Tokenizer(tokenizers.Tokenizer.from_str(reference.to_str()), 512)


@settings(max_examples=60, deadline=None)
@given(query=TEXTS, passage=TEXTS)
def test_whole_pairs_are_the_librarys(
    both: tuple[tokenizers.Tokenizer, Tokenizer], query: str, passage: str
) -> None:
    reference, tokenizer = both
    wanted = reference.encode(query, passage)
    pair = tokenizer.pairs(query, [passage], 200, 200)[0]
    assert list(pair.input_ids) == wanted.ids
    assert list(pair.token_type_ids) == wanted.type_ids
    assert (pair.token_count, pair.truncated) == (len(wanted.ids), False)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_whole_texts_are_the_librarys(
    both: tuple[tokenizers.Tokenizer, Tokenizer], text: str
) -> None:
    reference, tokenizer = both
    wanted = reference.encode(text)
    found = tokenizer.texts([text], 200)[0]
    assert list(found.input_ids) == wanted.ids
    assert list(found.token_type_ids) == wanted.type_ids


@settings(max_examples=40, deadline=None)
@given(words=st.lists(st.sampled_from(["boil", "eggs", "鸡蛋", "\n ", "x" * 30, "."]), min_size=1))
def test_a_cut_passage_is_cut_as_the_library_cuts(
    both: tuple[tokenizers.Tokenizer, Tokenizer], words: list[str]
) -> None:
    reference, tokenizer = both
    query, passage, budget = "how long", " ".join(words * 40), 11
    whole = reference.encode(query, passage)
    kept = len(reference.encode(query, "").ids) + budget
    reference.enable_truncation(kept, strategy="only_second")
    wanted = reference.encode(query, passage)
    reference.no_truncation()
    pair = tokenizer.pairs(query, [passage], 64, budget)[0]
    assert list(pair.input_ids) == wanted.ids
    assert pair.truncated == (len(whole.ids) > len(wanted.ids))
    assert len(pair.input_ids) <= pair.token_count <= len(whole.ids)


def test_query_and_passage_have_budgets_of_their_own() -> None:
    tokenizer = Tokenizer(wordpiece(), 512)
    short, long = "boil eggs", "eggs " * 90
    pair = tokenizer.pairs(long, [short], 7, 5)[0]
    assert (len(pair.input_ids), pair.token_count, pair.truncated) == (3 + 7 + 2, 95, True)
    pair = tokenizer.pairs(short, [long], 7, 5)[0]
    assert (len(pair.input_ids), pair.token_count, pair.truncated) == (3 + 2 + 5, 95, True)


def test_nothing_is_longer_than_the_model_takes() -> None:
    tokenizer = Tokenizer(wordpiece(), 32)
    long = "eggs " * 100
    assert len(tokenizer.pairs(long, [long], 64, 256)[0].input_ids) == 32
    assert len(tokenizer.pairs("eggs", [long], 64, 256)[0].input_ids) == 32
    assert len(tokenizer.texts([long], 256)[0].input_ids) == 32


@pytest.mark.parametrize("size", [1 << 12, 1 << 20])
def test_a_long_text_is_read_as_far_as_its_budget_needs(size: int) -> None:
    tokenizer = Tokenizer(wordpiece(), 256)
    text = ("boil eggs " * (size // 10 + 1))[:size]
    pair = tokenizer.texts([text], 254)[0]
    assert (len(pair.input_ids), pair.truncated) == (256, True)
    assert 256 < pair.token_count <= 2 * size // 10 + 3
    if size == 1 << 20:
        assert pair.token_count < 10_000  # it was not tokenized to its end


def test_white_space_and_endless_words_do_not_hide_the_text_behind_them() -> None:
    tokenizer = Tokenizer(wordpiece(), 256)
    wanted = tokenizer.texts(["eggs"], 64)[0]
    assert tokenizer.texts([" " * 30_000 + "eggs"], 64) == [wanted]
    unknown = tokenizer.texts(["a" * 30_000 + " eggs"], 64)[0]
    assert (unknown.token_count, unknown.input_ids[-2:]) == (4, wanted.input_ids[-2:])


def test_padding_ids() -> None:
    assert [Tokenizer(maker(), 64).pad_id for maker in MAKERS] == [0, 1, 1]


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        Tokenizer.open(tmp_path / "tokenizer.json", 64)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="is not a tokenizer"):
        Tokenizer.open(tmp_path / "tokenizer.json", 64)
