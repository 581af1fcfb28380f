"""What a base reads and gives: from its spec.json or contract.json, else from its own files.

Budgets that are asked for are those that it is trained with from now on; a model serves with them.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from sidecar.errors import InputFileError, ModelError
from sidecar.models.contract import CONTRACT_FILE, ModelContract, read_contract
from sidecar.models.formats import infer_contract
from sidecar.models.tokenizing import Tokenizer
from sidecar.models.vllm.folder import ServedFolder
from sidecar.models.vllm.template import QWEN3_RERANKER
from sidecar.types import Truncation
from training.fine_tuning.prompt import check_prompt, prompt_of
from training.fine_tuning.reading import copy_of, tokens_of_prompt
from training.models.bases import Base
from training.models.spec import SPEC_FILE, ModelSpec, read_spec

MOST_TOKENS = 8192  # of models whose own limit is higher
FEWEST_TOKENS = 8  # left for the other text of a pair
_SERVED = Truncation()  # budgets of a sidecar that is told none
_LICENCE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)


def spec_of(base: Base, kind: str, head: str, model: PreTrainedModel) -> ModelSpec:
    """The spec of an opened base, with its own budgets. Raises ModelError."""
    told = base.read(SPEC_FILE)
    if told.get("kind") == kind:
        return _read(base)
    contract = _contract(base, kind, model)
    tree = base.read(CONTRACT_FILE)
    limit = min(contract.max_tokens, MOST_TOKENS)
    return ModelSpec(
        kind=kind,
        base=base.name,
        base_revision=base.revision,
        head=str(tree.get("head") or head),
        pooling=contract.pooling,
        normalize=contract.normalize,
        query_prefix=contract.query_prefix,
        passage_prefix=contract.passage_prefix,
        query_tokens=contract.max_query_tokens or _SERVED.max_query_tokens,
        passage_tokens=contract.max_passage_tokens or _SERVED.max_passage_tokens,
        max_tokens=limit,
        template=_template(base, kind, head, model, tree),
        languages=contract.languages,
        licence=str(tree.get("licence") or _licence(base)),
        weight=contract.weight,
    )


def within_budgets(
    spec: ModelSpec,
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel,
    query_tokens: int,
    passage_tokens: int,
) -> ModelSpec:
    """The spec with other budgets (0: its own) and the longest input that they need.

    A long query with a long passage may need more than the model has: the passage gives way then,
    as it does when served. Raises ModelError for a budget that the model has no room for by itself.
    """
    query, passage = query_tokens or spec.query_tokens, passage_tokens or spec.passage_tokens
    special = _special_tokens(spec, tokenizer)
    room = max(spec.max_tokens, min(_positions(model), MOST_TOKENS))
    is_pair = spec.kind == "cross-encoder"
    most = room - special - (FEWEST_TOKENS if is_pair else 0)
    for name, asked in (("query_tokens", query_tokens), ("passage_tokens", passage_tokens)):
        if asked > most:
            raise ModelError(
                f"{spec.base} reads {room} tokens at most, {special} of them its own: {name} "
                f"{asked} is more than {most}"
            )
    longest = spec.max_tokens
    if query_tokens or passage_tokens:
        needed = special + (query + passage if is_pair else max(query, passage))
        longest = min(room, max(longest, needed))
    most = longest - special - (FEWEST_TOKENS if is_pair else 0)
    return dataclasses.replace(
        spec,
        query_tokens=min(query, most),
        passage_tokens=min(passage, most),
        max_tokens=longest,
    )


def _read(base: Base) -> ModelSpec:
    try:
        spec = read_spec(base.folder)
    except InputFileError as error:
        raise ModelError(error.message) from error
    if spec.template:
        check_prompt(spec.template, str(base.folder / SPEC_FILE))
    return spec


def _contract(base: Base, kind: str, model: PreTrainedModel) -> ModelContract:
    """The folder's own; of one that is another kind or has a head made here, what holds still."""
    if (base.folder / CONTRACT_FILE).is_file():
        contract = read_contract(base.folder / CONTRACT_FILE)
        if contract.kind == kind:
            return contract
        kept = ModelContract(base.name, kind, base.revision, contract.languages)
        return dataclasses.replace(kept, max_tokens=contract.max_tokens)
    architecture = str((base.read("config.json").get("architectures") or [""])[0])
    if kind == "cross-encoder" and not architecture.endswith("ForSequenceClassification"):
        return ModelContract(base.name, kind, base.revision, max_tokens=_positions(model))
    return infer_contract(base.folder, base.name, kind)


def _template(
    base: Base, kind: str, head: str, model: PreTrainedModel, contract: dict[str, Any]
) -> str:
    """The prompt of a decoder reranker: its contract's, else the one that vLLM serves it with."""
    told = str(contract.get("template") or "")
    if told:
        check_prompt(told, str(base.folder / CONTRACT_FILE))
        return told
    if kind == "bi-encoder":
        return ""
    placeholder = ModelContract(base.name, kind, "")
    served = ServedFolder(base.folder, placeholder, type(model).__name__)
    return prompt_of(QWEN3_RERANKER) if head == "yes_no" or served.is_decoder else ""


def _special_tokens(spec: ModelSpec, tokenizer: PreTrainedTokenizerFast) -> int:
    """Tokens of an input besides its texts."""
    copied = copy_of(tokenizer)
    if spec.template:
        return tokens_of_prompt(copied, spec.template)
    read = Tokenizer(copied, spec.max_tokens)
    return (read.double if spec.kind == "cross-encoder" else read.single).special_count


def _positions(model: PreTrainedModel) -> int:
    """The longest input that its positions allow."""
    config = model.config
    positions = int(getattr(config, "max_position_embeddings", 0) or MOST_TOKENS)
    if "roberta" in str(config.model_type):  # numbered from the padding's id + 1 on
        return positions - int(config.pad_token_id or 0) - 1
    return positions


def _licence(base: Base) -> str:
    """What the model card's head says, "" if nothing."""
    card = base.folder / "README.md"
    if not card.is_file():
        return ""
    found = _LICENCE.search(card.read_text(encoding="utf-8", errors="replace"))
    return found.group(1) if found else ""
