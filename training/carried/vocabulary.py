"""The cross-encoders' vocabulary: the bi-encoder's WordPiece pieces, without those never met.

Dropped are the placeholders, the pieces in scripts that an English model does not serve, and, of
the pieces of two characters or more that the training text never uses, the rarest (BERT's
vocabulary is sorted by frequency, so the last) until `size` are left. Single characters stay, so
that a word whose own piece went is still spelt out of smaller ones and never becomes unknown.
"""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

_LAST_LATIN = 0x24F
_SPECIAL = frozenset({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"})


def choose_pieces(tokenizer_file: Path, texts: Iterable[str], size: int) -> list[int]:
    """Ids of the pieces to keep, ascending, at most `size` unless more are in use."""
    tokenizer = open_tokenizer(tokenizer_file)
    used: Counter[int] = Counter()
    for text in texts:
        used.update(tokenizer.encode(text, add_special_tokens=False).ids)
    kept, spare = [], []
    for piece, number in sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
        if piece in _SPECIAL or (_is_served(piece) and (number in used or len(_bare(piece)) == 1)):
            kept.append(number)
        elif _is_served(piece):
            spare.append(number)
    return sorted(kept + spare[: max(0, size - len(kept))])


def open_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer without the padding and truncation that its file may ask for."""
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def cut_tokenizer(tokenizer_file: Path, kept: list[int]) -> Tokenizer:
    """The tokenizer with only the `kept` pieces, renumbered in their order."""
    state = json.loads(tokenizer_file.read_text(encoding="utf-8"))
    pieces = {number: piece for piece, number in state["model"]["vocab"].items()}
    vocabulary = {pieces[old]: new for new, old in enumerate(kept)}
    state["model"]["vocab"] = vocabulary
    state["padding"] = state["truncation"] = None
    state["added_tokens"] = [
        token | {"id": vocabulary[token["content"]]} for token in state["added_tokens"]
    ]
    for name, token in state["post_processor"]["special_tokens"].items():
        token["ids"] = [vocabulary[name]]
    return Tokenizer.from_str(json.dumps(state, ensure_ascii=False))


def _bare(piece: str) -> str:
    return piece.removeprefix("##")


def _is_served(piece: str) -> bool:
    """Neither a placeholder nor in another script than Latin; signs and digits are served."""
    if piece.startswith("[unused"):
        return False
    return all(
        ord(character) <= _LAST_LATIN or not unicodedata.category(character).startswith("L")
        for character in _bare(piece)
    )
