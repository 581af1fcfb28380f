"""Steps and their manifests: when a stage is run again, and what it finds if it was cut short."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.errors import ConfigurationError, InputFileError
from training.config import CollectConfig, FineTuneConfig, TrainingConfig
from training.progress import Progress
from training.run import plan, run_steps
from training.stage import Stage, Step, part_of, read_manifest, run_step
from training.stages import STAGES

CONFIG = TrainingConfig(collect=CollectConfig(judgments=("set",)))


def counting(work):
    """Tells whether it took up what a run before it had begun; stops where it finds "stop"."""
    for need, folder in work.inputs.items():
        assert (folder / "made.txt").exists(), need
    earlier = work.scratch / "earlier.txt"
    found = earlier.exists()
    earlier.write_text("begun")
    if (work.out.parent / "stop").exists():
        raise RuntimeError("stopped")
    (work.out / "made.txt").write_text(f"{work.config.seed}")
    return {"took_up": found}


def step(name, *needs, sections=("label",), reads=()):
    return Step(Stage(name, "counts", counting, sections), "", needs, reads)


def run_one(one, root, config=CONFIG):
    return run_step(one, config, root, Progress(root / "events.jsonl", one.place))


def test_a_step_is_run_once(tmp_path):
    first = run_one(step("one"), tmp_path)
    assert run_one(step("one"), tmp_path) == first
    events = [
        json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()
    ]
    assert events == ["begin", "end"]
    assert first["outputs"].keys() == {"made.txt"}
    assert not (tmp_path / "one" / "scratch").exists()


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        (TrainingConfig(seed=1, collect=CONFIG.collect), True),
        (TrainingConfig(collect=CollectConfig(judgments=("other",))), False),
    ],
)
def test_only_what_it_reads_makes_it_run_again(tmp_path, changed, again):
    first = run_one(step("one"), tmp_path)
    assert (run_one(step("one"), tmp_path, changed)["key"] != first["key"]) is again


def test_a_changed_need_makes_it_run_again(tmp_path):
    run_one(step("one"), tmp_path)
    before = run_one(step("two", "one"), tmp_path)
    run_one(step("one"), tmp_path, TrainingConfig(seed=7, collect=CONFIG.collect))
    after = run_one(step("two", "one", sections=()), tmp_path)
    assert before["inputs"] != after["inputs"]


def test_a_changed_file_from_outside_makes_it_run_again(tmp_path):
    outside = tmp_path / "given.txt"
    outside.write_text("a")
    before = run_one(step("one", reads=(outside,)), tmp_path / "run")
    outside.write_text("b")
    assert run_one(step("one", reads=(outside,)), tmp_path / "run")["key"] != before["key"]


def test_a_step_that_was_cut_short_finds_what_it_left(tmp_path):
    (tmp_path / "stop").touch()
    with pytest.raises(RuntimeError):
        run_one(step("one"), tmp_path)
    assert read_manifest(tmp_path / "one") is None
    (tmp_path / "stop").unlink()
    assert run_one(step("one"), tmp_path)["figures"] == {"took_up": True}


def test_what_another_configuration_left_is_cleared(tmp_path):
    (tmp_path / "stop").touch()
    with pytest.raises(RuntimeError):
        run_one(step("one"), tmp_path)
    (tmp_path / "stop").unlink()
    other = TrainingConfig(seed=5, collect=CONFIG.collect)
    assert run_one(step("one"), tmp_path, other)["figures"] == {"took_up": False}


def test_a_need_that_is_not_done_is_named(tmp_path):
    with pytest.raises(InputFileError, match="two needs it"):
        run_one(step("two", "one"), tmp_path)


def test_the_reranker_is_mined_for_after_the_bi_encoder():
    steps = plan(CONFIG)
    places = [each.place for each in steps]
    assert places[:3] == ["collect", "propensity", "label"]
    for number, each in enumerate(steps):
        assert set(each.needs) <= set(places[:number])
    mined = {each.place: each for each in steps if each.stage.name == "mine"}
    assert "bi_encoder/gate" in mined["reranker/mine"].needs
    assert mined["bi_encoder/mine"].needs == ("collect", "label")


def test_a_reranker_alone_needs_no_bi_encoder_of_the_run():
    alone = TrainingConfig(collect=CONFIG.collect, bi_encoder=FineTuneConfig(train=False))
    needs = {need for each in plan(alone) for need in each.needs}
    assert not any(need.startswith("bi_encoder") for need in needs)


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_what_a_stage_declares_is_there(stage):
    """A need that is misspelt would be left out of a run without a word."""
    earlier = list(STAGES)[: list(STAGES).index(stage.name)]
    for need in stage.needs:
        model, _, name = need.rpartition("/")
        assert name in (STAGES if model else earlier)
        assert model in ("", "bi_encoder")
    for key in (*stage.sections, *([stage.only_with] if stage.only_with else [])):
        part_of(CONFIG, key, "reranker")


def test_the_command_line_starts_without_torch():
    code = "import sys, training.__main__; sys.exit(int('torch' in sys.modules))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_teacher_adds_a_stage():
    taught = TrainingConfig(
        collect=CONFIG.collect,
        bi_encoder=FineTuneConfig(train=False),
        reranker=FineTuneConfig(teacher="pair-minilm-l6"),
    )
    places = [each.place for each in plan(taught)]
    assert "reranker/teach" in places
    needs = {each.place: each.needs for each in plan(taught)}
    assert needs["reranker/train"] == ("reranker/mine", "reranker/teach")
    assert not any(place.startswith("bi_encoder") for place in places)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ConfigurationError, match="nothing to learn from"):
        plan(TrainingConfig())


def test_a_folder_is_run_in_by_one_process(tmp_path, monkeypatch):
    seen = []

    def nested(work):
        with pytest.raises(ConfigurationError, match="another process"):
            run_steps([], CONFIG, Path(tmp_path))
        seen.append(work.out)
        return {}

    run_steps([Step(Stage("one", "", nested, ()), "", ())], CONFIG, Path(tmp_path))
    assert seen
