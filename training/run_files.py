"""The files that stages leave for one another in a run's folder; described where they are made.

`INDEXES` is a folder of the run, not of a stage: indexes by corpus and model, which mining and
evaluation share.
"""

import json
from pathlib import Path
from typing import Any

INDEXES = "indexes"
# collect
QUERIES_FILE, CLICKS_FILE, JUDGMENTS_FILE = "queries.jsonl", "clicks.npz", "judgments.jsonl"
CORPUS_FILE, REFUSED_FILE = "corpus.jsonl", "refused.jsonl"
# collect and label
REPORT_FILE = "report.json"
# propensity
CHOICE_FILE, PROPENSITIES_FILE = "choice.json", "propensities.json"
IDENTIFIABILITY_FILE, PERPLEXITY_FILE = "identifiability.json", "perplexity.json"
# label
EXPECTED_GRADES_FILE = "expected_grades.json"
# label, mine and teach
LISTS_FILE, PASSAGES_FILE = "lists.jsonl", "passages.jsonl"
# train
HISTORY_FILE = "history.json"
# export
EXPORT_FILE, PARITY_FILE = "export.json", "parity.json"
# evaluate
METRICS_FILE, PER_QUERY_FILE, ERRORS_FILE = "metrics.json", "per_query.jsonl", "errors.jsonl"
EVIDENCE_FILE, PAGE_FILE = "evidence.json", "report.html"
# gate
VERDICT_FILE = "verdict.json"
# publish
PUBLISHED_FILE = "published.json"


def write_json(path: Path, tree: Any) -> None:
    """What JSON holds, for people, too. Raises ValueError for a number that is not finite."""
    text = json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
