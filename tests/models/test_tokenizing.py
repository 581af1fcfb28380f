"""Against the tokenizers library's own pair encoding and truncation."""

from pathlib import Path

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from sidecar.errors import ModelError
from sidecar.models.base import Pair, TextPair, TokenizedPassage
from sidecar.models.hub import CARRIED
from sidecar.models.token_cache import TokenCache
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.truncation import leaves_out, to_spans
from sidecar.types import LongPassages, Truncation

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
WORDS = st.lists(
    st.sampled_from(["boil", "eggs", "鸡蛋", "\n ", "x" * 30, "."]), min_size=1, max_size=8
)


def only(read: TokenizedPassage) -> Pair:
    (pair,) = read.pairs
    assert isinstance(pair, Pair)
    return pair


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
    read = tokenizer.pairs(query, [passage], Truncation(200, 200))[0]
    pair = only(read)
    assert list(pair.input_ids) == wanted.ids
    assert list(pair.token_type_ids) == wanted.type_ids
    assert (read.token_count, read.truncated) == (len(wanted.ids), False)


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
@given(words=WORDS)
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
    read = tokenizer.pairs(query, [passage], Truncation(64, budget))[0]
    assert list(only(read).input_ids) == wanted.ids
    assert read.truncated == (len(whole.ids) > len(wanted.ids))
    assert only(read).length <= read.token_count <= len(whole.ids)


@settings(max_examples=60, deadline=None)
@given(
    words=WORDS,
    repeats=st.sampled_from([1, 40, 400]),
    budget=st.integers(1, 60),
    strategy=st.sampled_from(list(LongPassages)),
    max_chunks=st.integers(1, 4),
)
def test_passages_are_read_as_the_truncation_says(
    both: tuple[tokenizers.Tokenizer, Tokenizer],
    words: list[str],
    repeats: int,
    budget: int,
    strategy: LongPassages,
    max_chunks: int,
) -> None:
    """Against the spans of all of the passage's tokens, encoded in one go."""
    reference, tokenizer = both
    passage = " ".join(words * repeats)
    truncation = Truncation(64, budget, strategy, max_chunks)
    ids = reference.encode(passage, add_special_tokens=False).ids
    spans = to_spans(len(ids), budget, truncation)
    read = tokenizer.pairs("eggs", [passage], truncation)[0]
    before = len(reference.encode("eggs", "").ids) - 1
    kept = [list(pair.input_ids[before:-1]) for pair in read.pairs]
    assert kept == [[t for start, end in group for t in ids[start:end]] for group in spans]
    assert read.truncated == (leaves_out(len(ids), spans))
    count = before + 1 + len(ids)
    assert read.token_count == count or before + 1 + budget < read.token_count < count


@settings(max_examples=60, deadline=None)
@given(
    words=WORDS,
    repeats=st.sampled_from([1, 40, 400]),
    budget=st.integers(1, 60),
    strategy=st.sampled_from(list(LongPassages)),
)
def test_cut_texts_are_parts_of_the_text_within_the_budget(
    both: tuple[tokenizers.Tokenizer, Tokenizer],
    words: list[str],
    repeats: int,
    budget: int,
    strategy: LongPassages,
) -> None:
    reference, tokenizer = both
    passage = " ".join(words * repeats)
    truncation = Truncation(64, budget, strategy)
    by_ids = tokenizer.pairs("eggs", [passage], truncation)[0]
    by_text = tokenizer.cut_texts("eggs", [passage], truncation)[0]
    assert by_text.token_count == by_ids.token_count
    assert by_text.truncated == by_ids.truncated
    assert len(by_text.pairs) == len(by_ids.pairs)
    for cut, pair in zip(by_text.pairs, by_ids.pairs, strict=True):
        assert isinstance(cut, TextPair)
        assert (cut.query, cut.length) == ("eggs", pair.length)
        if not by_ids.truncated and len(by_ids.pairs) == 1:
            assert cut.passage == passage
        elif strategy is not LongPassages.HEAD_AND_TAIL:
            assert cut.passage in passage
            # Cut out of its words a text may begin with a piece of its own, no more.
            assert len(reference.encode(cut.passage, add_special_tokens=False).ids) <= budget + 2


def test_a_cut_text_ends_where_its_last_token_ends() -> None:
    tokenizer = Tokenizer(wordpiece(), 512)
    passage = "Lower the eggs, then boil them for six minutes."
    cut = tokenizer.cut_texts("how long do eggs boil", [passage], Truncation(2, 6))[0]
    assert [(p.query, p.passage) for p in cut.pairs if isinstance(p, TextPair)] == [
        ("how long", "Lower the eggs, then boil")
    ]
    both_ends = Truncation(64, 4, LongPassages.HEAD_AND_TAIL)
    (pair,) = tokenizer.cut_texts("eggs", [passage], both_ends)[0].pairs
    assert isinstance(pair, TextPair)
    assert pair.passage == "Lower the minutes."


def test_the_tail_of_a_very_long_text_is_its_own() -> None:
    tokenizer = Tokenizer(wordpiece(), 512)
    passage = "boil " * 100_000 + "eggs for six minutes"
    truncation = Truncation(64, 8, LongPassages.HEAD_AND_TAIL)
    (pair,) = tokenizer.cut_texts("q", [passage], truncation)[0].pairs
    assert isinstance(pair, TextPair)
    assert pair.passage == "boil boil boil boil eggs for six minutes"
    read = tokenizer.pairs("q", [passage], truncation)[0]
    wanted = only(tokenizer.pairs("q", [pair.passage], Truncation())[0])
    assert only(read) == wanted
    assert read.truncated


def test_query_and_passage_have_budgets_of_their_own() -> None:
    tokenizer = Tokenizer(wordpiece(), 512)
    short, long = "boil eggs", "eggs " * 90
    read = tokenizer.pairs(long, [short], Truncation(7, 5))[0]
    assert (only(read).length, read.token_count, read.truncated) == (3 + 7 + 2, 95, True)
    read = tokenizer.pairs(short, [long], Truncation(7, 5))[0]
    assert (only(read).length, read.token_count, read.truncated) == (3 + 2 + 5, 95, True)


@pytest.mark.parametrize("strategy", LongPassages)
def test_a_long_query_is_cut_whatever_happens_to_passages(strategy: LongPassages) -> None:
    tokenizer = Tokenizer(wordpiece(), 512)
    read = tokenizer.pairs("eggs " * 90, ["boil eggs"], Truncation(7, 5, strategy))[0]
    assert only(read).length == 3 + 7 + 2
    assert read.truncated


def test_nothing_is_longer_than_the_model_takes() -> None:
    tokenizer = Tokenizer(wordpiece(), 32)
    long = "eggs " * 100
    for strategy in (LongPassages.CUT_TAIL, LongPassages.HEAD_AND_TAIL, LongPassages.CHUNK_AND_MAX):
        for query in (long, "eggs"):
            pairs = tokenizer.pairs(query, [long], Truncation(long_passages=strategy))[0].pairs
            assert [pair.length for pair in pairs][:1] == [32]
            assert all(pair.length <= 32 for pair in pairs)
    assert tokenizer.texts([long], 256)[0].length == 32


@pytest.mark.parametrize("size", [1 << 12, 1 << 20])
def test_a_long_text_is_read_as_far_as_its_budget_needs(size: int) -> None:
    tokenizer = Tokenizer(wordpiece(), 512)
    text = ("boil eggs " * (size // 10 + 1))[:size]
    assert tokenizer.texts([text], 254)[0].length == 256
    read = tokenizer.pairs("eggs", [text], Truncation(64, 254))[0]
    assert (only(read).length, read.truncated) == (258, True)
    assert 258 < read.token_count <= 2 * size // 10 + 5
    if size == 1 << 20:
        assert read.token_count < 10_000  # it was not tokenized to its end


def test_white_space_and_endless_words_do_not_hide_the_text_behind_them() -> None:
    tokenizer = Tokenizer(wordpiece(), 256)
    wanted = tokenizer.texts(["eggs"], 64)[0]
    assert tokenizer.texts([" " * 30_000 + "eggs"], 64) == [wanted]
    unknown = tokenizer.texts(["a" * 30_000 + " eggs"], 64)[0]
    assert (unknown.length, unknown.input_ids[-2:]) == (4, wanted.input_ids[-2:])


class CountingTokenizer:
    """The library's, counting the texts that it encodes."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        self.inner, self.encoded = inner, 0

    def encode_batch_fast(self, texts: list[str], **settings: bool) -> object:
        self.encoded += len(texts)
        return self.inner.encode_batch_fast(texts, **settings)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_a_text_is_encoded_once_for_all_models_of_one_tokenizer() -> None:
    cache, counting = TokenCache(1 << 20), CountingTokenizer(wordpiece())
    first, second = (Tokenizer(counting, length, "ab" * 32, cache) for length in (512, 256))
    passages = ["boil eggs", "hiking boots", "boil eggs"]
    wanted = Tokenizer(wordpiece(), 512).pairs("eggs", passages, Truncation())
    assert first.pairs("eggs", passages, Truncation()) == wanted
    before = counting.encoded
    assert second.pairs("eggs", passages, Truncation()) == wanted
    assert counting.encoded == before
    other = Tokenizer(counting, 512, "cd" * 32, cache)
    assert other.pairs("eggs", passages, Truncation()) == wanted
    assert counting.encoded > before


def test_what_was_read_for_a_small_budget_does_not_do_for_a_large_one() -> None:
    cache, text = TokenCache(1 << 20), "boil eggs " * 4000
    tokenizer = Tokenizer(wordpiece(), 9000, cache=cache)
    for budget in (20, 3000, 100):
        read = tokenizer.pairs("eggs", [text], Truncation(64, budget))[0]
        assert only(read).length == budget + 4
        plain = Tokenizer(wordpiece(), 9000).pairs("eggs", [text], Truncation(64, budget))[0]
        assert only(read) == only(plain)


def test_padding_ids() -> None:
    assert [Tokenizer(maker(), 64).pad_id for maker in MAKERS] == [0, 1, 1]


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        Tokenizer.open(tmp_path / "tokenizer.json", 64)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="is not a tokenizer"):
        Tokenizer.open(tmp_path / "tokenizer.json", 64)
