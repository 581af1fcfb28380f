"""Models of a few thousand random weights, and lists that can be learnt in seconds.

A passage has a word of a topic, asked for by other words of the query, and words of worth. By
worth: the more of them the better, whatever the query (a cross-encoder learns it at once). By
topic: those of the query's topic are relevant (a bi-encoder learns it).
"""

import random
from dataclasses import replace
from io import StringIO

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
)

from training.config import FineTuneConfig
from training.fine_tuning.fit import fit
from training.fine_tuning.opening import Opened
from training.lists import ListCandidate, Split, TrainingList
from training.models.spec import ModelSpec
from training.progress import Progress

torch.set_num_threads(1)  # so small matrices are not made faster by two

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TOPICS = [["tide", "wave", "swell"], ["dune", "sand", "beach"], ["crab", "shell", "claw"]]
ASKED = [["ebb", "flood", "surf"], ["desert", "dry", "grain"], ["animal", "legs", "pinch"]]
WORTH = ["fine", "great"]
FILLING = "the a of and in to it is".split()  # noqa: SIM905
WORDS = [word for group in (*TOPICS, *ASKED, WORTH, FILLING) for word in group]


def tokenizer():
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)},
    )


def config(dropout):
    return BertConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=1,
        initializer_range=0.2,  # at the usual .02 so small a model has hardly a gradient
    )


def cross_encoder(dropout=0.1, seed=0):
    torch.manual_seed(seed)
    spec = ModelSpec("cross-encoder", "toy", "0", head="classifier", max_tokens=60)
    return Opened(BertForSequenceClassification(config(dropout)).eval(), tokenizer(), spec)


def bi_encoder(dropout=0.1, seed=0, normalize=True):
    torch.manual_seed(seed)
    spec = ModelSpec("bi-encoder", "toy", "0", max_tokens=60, normalize=normalize)
    model = BertModel(config(dropout), add_pooling_layer=False).eval()
    return Opened(model, tokenizer(), spec)


def toy_lists(count, by="worth", split=Split.TRAIN, seed=1, most=6):
    """Lists of two to `most` candidates, and the passages of all their documents."""
    draw, lists, passages = random.Random(f"{seed} {split}"), [], {}
    for number in range(count):
        topic, candidates = draw.randrange(len(TOPICS)), []
        query = " ".join(draw.sample(ASKED[topic], 2))
        for place in range(draw.randint(2, most)):
            of, worth = draw.randrange(len(TOPICS)), draw.choice([0, 0, 1, 2])
            if place == 0:  # each list has a document of its topic, and one that is worth something
                of, worth = topic, 2
            words = [*draw.sample(TOPICS[of], 2), *WORTH[:worth]]
            words += draw.sample(FILLING, draw.randint(0, 6))
            draw.shuffle(words)
            doc_id = f"{split}{number}.{place}"
            passages[doc_id] = " ".join(words)
            grade = worth if by == "worth" else 2 * (of == topic)
            candidates.append(ListCandidate(doc_id, grade / 2, grade, teacher=4.0 * grade - 4))
        draw.shuffle(candidates)
        lists.append(TrainingList(f"{split}{number}", query, split, tuple(candidates)))
    return lists, passages


def settings(**changed):
    """A short run at a rate at which so small a model learns."""
    usual = FineTuneConfig(
        loss="listwise_softmax",
        lists_per_step=8,
        epochs=4.0,
        learning_rate=3e-3,
        evaluations=4,
        precision="fp32",
        base_shares=(0.0,),
        gradient_cache="off",
    )
    return replace(usual, **changed)


def settings_by_topic(**changed):
    """What a bi-encoder needs to learn the topics."""
    return settings(**{"loss": "info_nce", "epochs": 6.0, "learning_rate": 1e-2} | changed)


def quiet(events=None):
    return Progress(events, "train", StringIO())


def fitted(opened, config, folder, by="worth", seed=0, report=None, dev=24):
    """Of toy lists."""
    count = 48 if by == "worth" else 96
    lists, passages = toy_lists(count, by)
    dev_lists, dev_passages = toy_lists(dev, by, Split.DEV)
    every = {**passages, **dev_passages}
    return fit(opened, lists, dev_lists, every, config, seed, folder, report or quiet())
