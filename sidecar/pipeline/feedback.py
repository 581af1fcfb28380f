"""What was shown and what users did: impressions to the log, tokens out, events in."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.types import Ranking, RankingOptions


@dataclass(frozen=True, slots=True)
class Asked:
    """What a ranking answers. `collection` is empty for a list that the caller brought."""

    query: str
    options: RankingOptions
    caller: str = ""
    collection: str = ""
    index_revision: int = 0


class Feedback:
    """Logs impressions and events; nothing where feedback is off."""

    def show(self, ranking: Ranking, asked: Asked) -> str:
        """Logs a ranking that is being answered and returns its token, "" if it is not logged.

        Never blocks and never raises.
        """
        return ""
