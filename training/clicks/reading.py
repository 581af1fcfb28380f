"""The logs that a run is given, as one: folders of the sidecar's feedback log, JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.errors import InputFileError
from training.clicks.files import read_parquet
from training.clicks.joining import join_logs
from training.clicks.json_lines import Refuse, read_jsonl
from training.clicks.log import ClickLog


def read_logs(
    paths: Sequence[Path],
    collection: str,
    refusing: Callable[[Path], Refuse],
    left_out: Counter[str],
) -> ClickLog | None:
    """All of them, one after the other; None without a path. `collection` "": the only one that
    there is. Raises InputFileError, for a file without a good row, too."""
    if not paths:
        return None
    folders = [path for path in paths if path.suffix != ".jsonl"]
    logs = [read_parquet(folders, collection or None, left_out)] if folders else []
    for path in paths:
        if path.suffix == ".jsonl":
            log = read_jsonl(path, refusing(path), left_out)
            if not log.impressions:
                raise InputFileError(str(path), None, "no line of it is an impression")
            logs.append(log)
    return join_logs(logs)


def told_of(log: ClickLog, left_out: Counter[str]) -> dict[str, Any]:
    """Counts, for a report; `left_out` by reason."""
    return {
        "impressions": log.impressions,
        "sessions": len(np.unique(log.sessions)),
        "queries": len(log.query_names),
        "documents": len(log.document_names),
        "ranks": log.ranks,
        "clicks": int(log.clicks.sum()),
        "impressions_with_clicks": int(log.clicks.any(axis=1).sum()),
        "carts": int(log.carts.sum()),
        "orders": int(log.orders.sum()),
        "explored": int((log.swap_probabilities > 0).sum()),
        "from": float(log.times.min(initial=np.inf)) if log.impressions else None,
        "until": float(log.times.max(initial=-np.inf)) if log.impressions else None,
        "left_out": {reason: count for reason, count in left_out.items() if count},
    }
