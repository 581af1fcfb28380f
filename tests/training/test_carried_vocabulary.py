"""The cut vocabulary spells everything that it should, in the carried bi-encoder's pieces."""

from sidecar.models.hub import CARRIED
from training.carried.vocabulary import choose_pieces, cut_tokenizer, open_tokenizer

FILE = CARRIED / "all-minilm-l6-v2" / "tokenizer.json"
TEXTS = ["Wait for several coroutines at once", "microstructural development of white matter"]


def test_text_that_was_seen_is_cut_into_the_same_pieces():
    kept = choose_pieces(FILE, TEXTS, 5000)
    whole, cut = open_tokenizer(FILE), cut_tokenizer(FILE, kept)
    assert len(kept) == 5000
    for text in TEXTS:
        assert cut.encode(text, text).tokens == whole.encode(text, text).tokens


def test_rare_words_are_spelt_out_and_other_scripts_are_unknown():
    cut = cut_tokenizer(FILE, choose_pieces(FILE, TEXTS, 0))
    assert "[UNK]" not in cut.encode("zyzzyva Gillingham 1987").tokens
    assert cut.encode("海").tokens == ["[CLS]", "[UNK]", "[SEP]"]


def test_pieces_in_use_stay_even_beyond_the_size():
    kept = set(choose_pieces(FILE, TEXTS, 10))
    whole = open_tokenizer(FILE)
    assert all(set(whole.encode(text).ids) <= kept for text in TEXTS)
