"""Text cut into passages, and queries made of it."""

import random

from training.carried.collect import SourceDocument, thin_python
from training.carried.queries import (
    cut_passages,
    make_queries,
    queries_over_documents,
    queries_over_passages,
    readable_title,
)
from training.carried.text import content_words, cut_windows, join_passage, split_sentences

TEXT = (
    "Wind moves sand across the beach. Dunes grow where plants hold it back. "
    "A storm in winter can undo the work of years. Fences help young dunes to stand."
)
DUNES = SourceDocument("d1", "scifact", "How dunes grow", TEXT)
GATHER = SourceDocument("p1", "python", "asyncio.tasks.gather", "Return a future. " + TEXT)


def test_sentences_and_windows_keep_every_word():
    sentences = split_sentences(TEXT)
    assert len(sentences) == 4
    windows = cut_windows(sentences, 15)
    assert " ".join(windows) == " ".join(sentences)
    assert all(len(window.split()) <= 15 for window in windows)


def test_a_sentence_longer_than_a_window_is_cut():
    assert cut_windows(["one two three four"], 3) == ["one two three"]


def test_join_drops_empty_parts():
    assert join_passage(" ", "text") == "text"
    assert join_passage("title", "text") == "title\ntext"


def test_content_words_are_unique_and_in_order():
    assert content_words("the dunes and the Dunes of the sea dunes") == ["dunes", "Dunes", "sea"]


def test_names_of_python_become_words():
    assert readable_title(GATHER) == "tasks gather"
    assert readable_title(DUNES) == "How dunes grow"


def test_queries_are_drawn_by_seed_and_come_from_the_document():
    first = list(make_queries(DUNES, 40, random.Random(3)))
    assert first == list(make_queries(DUNES, 40, random.Random(3)))
    assert len({query.text for query in first}) == len(first) > 10
    sources = [*split_sentences(TEXT), DUNES.title]
    assert all(query.made_from in sources for query in first)


def test_products_have_their_title_alone_too():
    product = SourceDocument("b1", "esci_us_small", "Beach towel", TEXT)
    assert "Beach towel" in [passage.text for passage in cut_passages(product, random.Random(0))]


def test_the_passage_that_a_query_was_made_from_is_not_relevant():
    rng = random.Random(1)
    passages, queries = queries_over_passages([DUNES, GATHER], {"scifact": 8, "python": 8}, rng)
    texts = {passage.passage_id: passage for passage in passages}
    assert queries
    for query in queries:
        owners = {texts[passage_id].doc_id for passage_id in query.relevance}
        assert len(owners) <= 1


def test_queries_over_documents_know_nothing_relevant():
    queries = queries_over_documents([DUNES, GATHER], 5, random.Random(0))
    assert {query.source for query in queries} == {"made"}
    assert all(not query.relevance for query in queries)


def test_no_package_dominates():
    python = [SourceDocument(f"p{n}", "python", f"big.f{n}", TEXT) for n in range(20)]
    python += [SourceDocument(f"q{n}", "python", f"small{n}.f", TEXT) for n in range(3)]
    kept = thin_python([DUNES, *python], most=10, most_per_package=4, seed=1)
    assert kept[0] == DUNES
    assert sum(document.title.startswith("big.") for document in kept) == 4
    assert len(kept) == 1 + 4 + 3
