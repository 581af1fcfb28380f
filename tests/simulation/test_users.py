"""Simulated users: all from the seed, sensible in what they do."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from sidecar.evaluation.beir import JudgedSet
from sidecar.feedback_types import Action
from sidecar.simulation.click_models import CLICK_MODELS
from sidecar.simulation.users import MOST_QUERIES, Users

JUDGED = JudgedSet(
    "small",
    {f"q{n}": f"words {n}" for n in range(10)},
    {f"q{n}": {"good": 3, "fair": 1, "bad": 0} for n in range(10)},
)
SHOWN = ["fair", "unjudged", "good", "bad"]


def users(seed: int = 1, run: str = "r", model: str = "pbm") -> Users:
    return Users(JUDGED, CLICK_MODELS[model], seed, run)


def test_the_same_seed_gives_the_same_sessions_and_acts_in_any_order() -> None:
    one, other = users(), users()
    forwards = [one.session(n) for n in range(50)]
    backwards = [other.session(n) for n in reversed(range(50))]
    assert forwards == backwards[::-1]
    acts = [one.acts(session, 0, SHOWN) for session in forwards]
    assert acts == [other.acts(session, 0, SHOWN) for session in backwards][::-1]


def test_and_in_another_process() -> None:
    program = (
        "from sidecar.evaluation.beir import JudgedSet\n"
        "from sidecar.simulation.users import Users\n"
        "from sidecar.simulation.click_models import CLICK_MODELS\n"
        f"judged = JudgedSet('small', {JUDGED.queries!r}, {JUDGED.qrels!r})\n"
        "users = Users(judged, CLICK_MODELS['pbm'], 1, 'r')\n"
        "print([(users.session(n), users.acts(users.session(n), 0, ['good', 'bad']))"
        " for n in range(20)])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    mine = users()
    here = [(mine.session(n), mine.acts(mine.session(n), 0, ["good", "bad"])) for n in range(20)]
    assert printed.strip() == str(here)


def test_another_seed_gives_others() -> None:
    one, other = users(1), users(2)
    sessions = [(one.session(n), other.session(n)) for n in range(50)]
    assert all(a.session_id != b.session_id for a, b in sessions)
    assert sum(a.query_ids != b.query_ids for a, b in sessions) > 35


def test_another_run_has_the_same_acts_under_other_ids() -> None:
    one, other = users(run="a"), users(run="b")
    session = one.session(3)
    assert session == other.session(3)
    mine, theirs = one.acts(session, 0, SHOWN), other.acts(session, 0, SHOWN)
    assert [(a.action, a.doc_id, a.value) for a in mine] == [
        (a.action, a.doc_id, a.value) for a in theirs
    ]
    assert not {a.event_id for a in mine} & {a.event_id for a in theirs}


def test_event_ids_are_unique_and_fit_the_contract() -> None:
    population = users(run="x" * 64)
    ids = []
    for number in range(300):
        session = population.session(number)
        for turn in range(len(session.query_ids)):
            ids += [act.event_id for act in population.acts(session, turn, SHOWN)]
    assert len(ids) == len(set(ids))
    assert max(map(len, ids)) <= 128


def test_sessions_are_of_one_to_a_few_queries_of_the_set() -> None:
    population = users()
    sessions = [population.session(n) for n in range(3000)]
    lengths = Counter(len(session.query_ids) for session in sessions)
    assert set(lengths) == set(range(1, MOST_QUERIES + 1))
    assert lengths[1] / 3000 == pytest.approx(0.6, abs=0.04)
    queries = Counter(query_id for session in sessions for query_id in session.query_ids)
    assert set(queries) == set(JUDGED.queries)
    assert 1 < len({session.user_id for session in sessions}) < 3000  # some come back


def test_what_follows_a_click_is_on_the_clicked_hit_and_in_order() -> None:
    population = users()
    order = [Action.CLICK, Action.DWELL, Action.CART_ADDITION, Action.ORDER]
    for number in range(500):
        view, *acts = population.acts(population.session(number), 0, SHOWN)
        assert (view.action, view.value, view.doc_id) == (Action.VIEW, len(SHOWN), "")
        for act in acts:
            assert SHOWN[act.rank - 1] == act.doc_id
        for rank in {act.rank for act in acts}:
            steps = [act.action for act in acts if act.rank == rank]
            assert steps == order[: len(steps)]
            assert len(steps) >= 2
        assert all(0 <= (act.value or 0) <= 86_400 for act in acts)


def test_better_hits_are_clicked_stayed_with_and_ordered_more() -> None:
    population = users(model="dcm")
    actions: Counter[tuple[str, Action]] = Counter()
    dwells: dict[str, float] = Counter()
    for number in range(4000):
        session = population.session(number)
        for act in population.acts(session, 0, ["good", "bad"] if number % 2 else ["bad", "good"]):
            actions[act.doc_id, act.action] += 1
            if act.action is Action.DWELL:
                dwells[act.doc_id] += act.value or 0.0
    for action in (Action.CLICK, Action.CART_ADDITION, Action.ORDER):
        assert actions["good", action] > 5 * actions["bad", action]
    mean = {doc_id: dwells[doc_id] / actions[doc_id, Action.DWELL] for doc_id in ("good", "bad")}
    assert mean["good"] > 3 * mean["bad"]


def test_nothing_shown_is_only_looked_at() -> None:
    population = users()
    acts = population.acts(population.session(0), 0, [])
    assert [act.action for act in acts] == [Action.VIEW]
