"""What an index should hold, by two looks at the documents between which it was read.

The index has every write that the first look saw, and maybe later ones. What is the same in both
looks was so all the time between them, and the index must say it too; the rest is passed over. So
nobody has to keep writes away.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from sidecar.storage.versions import Ordinals, Rows, Versions, numbers_of

# float16 keeps 11 bits: a value of a unit vector is off by at most 2**-12.
VECTOR_TOLERANCE = 5e-4
_SHOWN = 5

# The documents, and the vectors of one generation.
Look = tuple[Versions, Rows]


def lexical_findings(
    before: Versions, entries: Rows, after: Versions, recent: Collection[int] = ()
) -> list[str]:
    """`entries` of the index by ordinal; `recent` are ordinals that it need not know of yet."""
    where = "the lexical index"
    held = np.unique(entries[:, 0])
    kept = _unchanged(before.rows, after.rows)
    kept = kept[~_among(kept[:, 0], recent)]
    found = numbers_of(entries, kept[:, 0])
    gone = (numbers_of(before.rows, held) == 0) & (numbers_of(after.rows, held) == 0)
    gone &= (held <= before.last_ordinal) & ~_among(held, recent)
    return [
        *_said(f"{where} lacks documents", kept[found == 0, 0]),
        *_said(f"{where} has documents that are not stored:", held[gone]),
        *_said(
            f"{where} has older versions of documents",
            kept[(found != 0) & (found != kept[:, 1]), 0],
        ),
        *_said(f"{where} has several entries of documents", _repeated(entries[:, 0])),
    ]


def dense_findings(where: str, before: Look, held: Ordinals, after: Look) -> list[str]:
    """`held`: ordinals of the index, sorted."""
    (documents_before, encoded_before), (documents_after, encoded_after) = before, after
    kept = _unchanged(encoded_before, encoded_after)[:, 0]
    # In between it may have been encoded, but only if its document was not written anew.
    unencoded = (numbers_of(encoded_before, held) == 0) & (numbers_of(encoded_after, held) == 0)
    unencoded &= numbers_of(documents_before.rows, held) == numbers_of(documents_after.rows, held)
    unencoded &= held <= documents_before.last_ordinal
    return [
        *_said(f"{where} lacks documents", np.setdiff1d(kept, held)),
        *_said(f"{where} has documents that are not stored:", np.unique(held[unencoded])),
        *_said(f"{where} has several vectors of documents", _repeated(held)),
    ]


def vector_findings(where: str, before: Look, differing: Rows, after: Look) -> list[str]:
    """`differing`: ordinals whose vector was another one in the index, by ordinal, each with the
    number of the write that gave the stored one."""
    ordinals, numbers = differing[:, 0], differing[:, 1]
    steady = numbers_of(before[1], ordinals) == numbers
    steady &= numbers_of(after[1], ordinals) == numbers
    return _said(f"{where} has other vectors of documents", ordinals[steady])


def _unchanged(before: Rows, after: Rows) -> Rows:
    kept: Rows = before[numbers_of(after, before[:, 0]) == before[:, 1]]
    return kept


def _among(ordinals: Ordinals, some: Collection[int]) -> npt.NDArray[np.bool_]:
    return np.isin(ordinals, np.fromiter(some, np.int64, len(some)))


def _repeated(ordinals: Ordinals) -> Ordinals:
    return np.unique(ordinals[1:][ordinals[1:] == ordinals[:-1]])


def _said(what: str, ordinals: Ordinals) -> list[str]:
    if not len(ordinals):
        return []
    named = ", ".join(str(ordinal) for ordinal in ordinals[:_SHOWN].tolist())
    more = f" and {len(ordinals) - _SHOWN} more" if len(ordinals) > _SHOWN else ""
    return [f"{what} with ordinal {named}{more}"]
