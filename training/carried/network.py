"""The network in training: one trunk of six layers with a head after the third and after the last.

Deep supervision: both heads are trained at once, on the same pairs, so one run gives the
first-stage reranker (layers 1-3, early head) and the second-stage one (all layers, last head).
The word embeddings are frozen: the training text is narrow, and a word that it never uses keeps
its place beside its neighbours.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, BertModel

EARLY_LAYERS = 3


class Head(nn.Module):
    """BERT's pooler and classifier: `w . tanh(W h + b) + c` on the first token's state."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.classifier = nn.Linear(hidden, 1)

    def forward(self, states: Tensor) -> Tensor:
        """(pairs, tokens, hidden) -> (pairs,)."""
        pooled = torch.tanh(self.dense(states[:, 0]))  # (pairs, hidden)
        score: Tensor = self.classifier(pooled).squeeze(-1)
        return score


class TwoHeads(nn.Module):
    """A BERT trunk with an early and a last head; `forward` gives both scores."""

    def __init__(self, trunk: BertModel, early_layers: int = EARLY_LAYERS) -> None:
        super().__init__()
        self.trunk = trunk
        self.early_layers = early_layers
        self.early = Head(trunk.config.hidden_size)
        self.last = Head(trunk.config.hidden_size)
        trunk.embeddings.word_embeddings.weight.requires_grad_(False)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """(pairs, tokens) int64, three times -> (2, pairs): early and last scores."""
        states = self.trunk(
            input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True
        ).hidden_states
        return torch.stack((self.early(states[self.early_layers]), self.last(states[-1])))


def start_from(folder: Path, kept: list[int], layers: int = 6) -> TwoHeads:
    """The network before training: the bi-encoder's layers, pooler and `kept` word embeddings."""
    trunk = BertModel.from_pretrained(
        folder,
        add_pooling_layer=True,
        attn_implementation="eager",
        num_hidden_layers=layers,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    words = trunk.embeddings.word_embeddings.weight.detach()[kept]
    trunk.embeddings.word_embeddings = nn.Embedding.from_pretrained(words.clone(), freeze=True)
    trunk.config.vocab_size = len(kept)
    network = TwoHeads(trunk, early_layers=min(EARLY_LAYERS, layers))
    for head in (network.early, network.last):
        head.dense.load_state_dict(trunk.pooler.dense.state_dict())
        nn.init.normal_(head.classifier.weight, std=0.02)
        nn.init.zeros_(head.classifier.bias)
    trunk.pooler = None
    return network


def to_classifier(network: TwoHeads, early: bool) -> BertForSequenceClassification:
    """One of the two models as transformers loads it: BERT with one label."""
    layers = network.early_layers if early else network.trunk.config.num_hidden_layers
    config = BertConfig.from_dict(network.trunk.config.to_dict())
    config.num_hidden_layers = layers
    config.num_labels = 1
    model = BertForSequenceClassification(config)
    model.bert.embeddings.load_state_dict(network.trunk.embeddings.state_dict())
    for mine, theirs in zip(model.bert.encoder.layer, network.trunk.encoder.layer, strict=False):
        mine.load_state_dict(theirs.state_dict())
    head = network.early if early else network.last
    model.bert.pooler.dense.load_state_dict(head.dense.state_dict())
    model.classifier.load_state_dict(head.classifier.state_dict())
    return model.eval()
