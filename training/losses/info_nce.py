"""InfoNCE with in-batch and hard negatives, several positives a query, and no false negatives.

    L = - 1/|P| sum over (q, p) in P of w_p log(e_qp / (e_qp + sum_n e_qn)),  e = exp(s / T)

P are all positives of all queries, each against the negatives alone. The negatives of a query are
its own hard ones and all documents of the other queries, except
- one that is, by its id, a positive of the query (or of another row with the query's id),
- one that, by its id, was counted already: its own hard negatives come first,
- one of another query with s_qn > s_qp + margin: likely a positive that nobody judged.

van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding", arXiv
1807.03748; in-batch negatives: Karpukhin et al., "Dense Passage Retrieval", EMNLP 2020; the mask
and its margin of .1: Zhang et al., "Qwen3 Embedding", arXiv 2506.05176.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from training.losses.ragged import precise


def info_nce(
    queries: Tensor,
    documents: Tensor,
    groups: Tensor,
    grades: Tensor,
    weights: Tensor | None = None,
    document_ids: Tensor | None = None,
    query_ids: Tensor | None = None,
    temperature: float = 0.05,
    false_negative_margin: float | None = 0.1,
    cosine: bool = True,
) -> Tensor:
    """Mean over positives (grade > 0).

    `queries`: (queries, dim); `documents`: (documents, dim). `groups`: (documents,) int64, the row
    of the query, or -1 for a document that is a negative only (gathered from another process).
    `grades`, `weights`, `document_ids`: (documents,); `query_ids`: (queries,). Ids are integers;
    without them all are different. The margin is one of similarities, before the temperature.
    """
    queries, documents = precise(queries), precise(documents)
    if cosine:
        queries, documents = normalize(queries, dim=1), normalize(documents, dim=1)
    similarity = queries @ documents.T  # (queries, documents)
    own = groups == torch.arange(len(queries), device=groups.device)[:, None]
    negative = _negatives(own, grades > 0, document_ids, query_ids)
    positives = torch.nonzero((grades > 0) & (groups >= 0))[:, 0]  # (positives,)
    rows = groups[positives]
    score = similarity[rows, positives]
    kept = negative[rows]
    if false_negative_margin is not None:
        threshold = score.detach()[:, None] + false_negative_margin
        kept = kept & (own[rows] | (similarity.detach()[rows] <= threshold))
    against = (similarity[rows] / temperature).masked_fill(~kept, -torch.inf)
    logits = torch.cat([score[:, None] / temperature, against], dim=1)
    each = -torch.log_softmax(logits, dim=1)[:, 0]
    if weights is not None:
        each = each * weights[positives]
    return each.sum() / max(len(positives), 1)


def _negatives(
    own: Tensor, relevant: Tensor, document_ids: Tensor | None, query_ids: Tensor | None
) -> Tensor:
    """(queries, documents) bool: what a query may be contrasted with.

    `own`: (queries, documents) bool, whether the document is in the list of the query.
    """
    positive = own & relevant
    if query_ids is not None:
        same_query = query_ids[:, None] == query_ids[None, :]
        positive = (same_query.float() @ positive.float()) > 0
    if document_ids is None:
        return ~positive
    _, number = torch.unique(document_ids, return_inverse=True)
    known, listed = (_by_number(each, number) for each in (positive, own))
    list_of = torch.where(own.any(dim=0), own.int().argmax(dim=0), len(own))
    _, listing = torch.unique(torch.stack([list_of, number]), dim=1, return_inverse=True)
    first_of_own = own & _first_occurrences(listing)
    first_of_others = ~listed & _first_occurrences(number)
    return ~known & (first_of_own | first_of_others)


def _by_number(marked: Tensor, number: Tensor) -> Tensor:
    """(queries, documents) bool: whether a document with the same number is marked."""
    counts = marked.new_zeros((len(marked), int(number.max()) + 1), dtype=torch.float)
    return counts.index_add(1, number, marked.float())[:, number] > 0


def _first_occurrences(number: Tensor) -> Tensor:
    """(documents,) bool."""
    places = torch.arange(len(number), device=number.device)
    last = torch.full_like(places, len(number))
    return last.scatter_reduce(0, number, places, "amin")[number] == places
