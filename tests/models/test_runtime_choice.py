"""With fake runtimes: who is compared, who is refused, who serves."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fake_runtimes import (
    BF16,
    CONTRACT,
    OPENVINO,
    Bench,
    Fault,
    garbage_alone,
    garbage_in_batches,
    one_nan,
    right,
    rounded,
    subject_of,
)

from sidecar.config import RuntimeConfig
from sidecar.errors import ModelError, StorageError
from sidecar.models.machine import Machine, read_machine
from sidecar.models.runtime import Choice, Output
from sidecar.models.runtime_choice import (
    OUT_OF_TIME,
    REFERENCE,
    RuntimeChoice,
    choices_for,
    choose_runtime,
    holds,
)
from sidecar.models.runtime_choice_file import (
    CHOICE_FILE,
    choice_key,
    keep_choice,
    read_choice,
)


def verdicts(found: RuntimeChoice) -> dict[str, str]:
    return {f"{row.precision} {row.runtime} {row.hint}": row.verdict for row in found.rows}


def test_the_fastest_within_the_tolerance_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(
        monkeypatch,
        onnxruntime_fp32=(0.010, right),
        openvino_fp32=(0.008, right),
        openvino_bf16=(0.004, rounded),
        openvino_bf16_throughput=(0.003, rounded),
    )
    found, runtime = choose_runtime(subject_of(), [REFERENCE, OPENVINO, BF16], bench.open)
    assert found.choice == runtime.choice == Choice("openvino", "bf16", "throughput")
    chosen = next(row for row in found.rows if row.verdict == "chosen")
    assert chosen.per_second == pytest.approx(1 / 0.003)
    assert chosen.ratio == pytest.approx(10 / 3)
    assert 0.0 < chosen.difference < 0.02
    assert [opened for opened in bench.opened if not opened.closed] == [runtime]


@pytest.mark.parametrize("fault", [garbage_in_batches, garbage_alone, one_nan])
def test_a_wrong_runtime_never_serves_however_fast(
    monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    bench = Bench(monkeypatch, onnxruntime_fp32=(0.010, right), openvino_bf16=(0.001, fault))
    found, runtime = choose_runtime(subject_of(), [REFERENCE, OPENVINO, BF16], bench.open)
    assert runtime.choice == REFERENCE
    assert verdicts(found) == {
        "fp32 onnxruntime latency": "chosen",
        "fp32 openvino latency": "cannot run: not on this machine",
        "bf16 openvino latency": "leaves the tolerance of 0.02",
    }
    assert [opened.closed for opened in bench.opened] == [False, True]


def test_the_other_hint_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(
        monkeypatch,
        onnxruntime_fp32=(0.010, right),
        openvino_bf16=(0.004, right),
        openvino_bf16_throughput=(0.001, garbage_in_batches),
    )
    found, runtime = choose_runtime(subject_of(), [REFERENCE, BF16], bench.open)
    assert runtime.choice == BF16
    assert verdicts(found)["bf16 openvino throughput"].startswith("leaves")


def test_a_configured_runtime_that_is_wrong_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, onnxruntime_fp32=(0.01, right), openvino_bf16=(0.001, one_nan))
    with pytest.raises(ModelError, match=r"raise runtime\.score_tolerance"):
        choose_runtime(subject_of(), [BF16], bench.open)
    assert all(opened.closed for opened in bench.opened)


def test_a_model_that_leaves_its_golden_scores_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, onnxruntime_fp32=(0.01, right))
    golden = tuple(float(number) for number in range(8))
    assert (
        choose_runtime(subject_of(golden=golden), [REFERENCE], bench.open)[0].golden_scores
        == golden
    )
    with pytest.raises(ModelError, match="golden pairs"):
        choose_runtime(subject_of(golden=(*golden[:7], 9.0)), [REFERENCE], bench.open)


@pytest.mark.parametrize("golden", [(), tuple(float(number) for number in range(8))])
def test_a_model_that_gives_nan_even_in_fp32_is_an_error(
    monkeypatch: pytest.MonkeyPatch, golden: tuple[float, ...]
) -> None:
    bench = Bench(monkeypatch, onnxruntime_fp32=(0.01, one_nan))
    with pytest.raises(ModelError):
        choose_runtime(subject_of(golden=golden), [REFERENCE], bench.open)


def moved_by_neighbours(scores: Output, batch: int) -> Output:
    return (scores + 0.015 * 11.5 * (batch > 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("fault", "expected"), [(right, True), (rounded, True), (moved_by_neighbours, False)]
)
def test_whether_neighbours_in_a_batch_move_a_score_is_kept(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, expected: bool
) -> None:
    """Eight bits that hold have a wider tolerance, but not for this."""
    bench = Bench(monkeypatch, onnxruntime_fp32=(0.01, right), onnxruntime_int8=(0.001, fault))
    holding = subject_of(dataclasses.replace(CONTRACT, eight_bit_holds=True))
    holding = dataclasses.replace(holding, tolerance=0.01)
    int8 = Choice("onnxruntime", "int8")
    found, _ = choose_runtime(holding, [REFERENCE, int8], bench.open)
    assert (found.choice, found.batch_invariant) == (int8, expected)


def quick_bench(monkeypatch: pytest.MonkeyPatch, slow: float = 1.0) -> Bench:
    return Bench(
        monkeypatch,
        onnxruntime_fp32=(0.010 * slow, right),
        openvino_fp32=(0.008 * slow, right),
        openvino_bf16=(0.004 * slow, rounded),
        openvino_bf16_throughput=(0.003 * slow, rounded),
    )


def test_with_time_enough_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = quick_bench(monkeypatch)
    found, runtime = choose_runtime(subject_of(), [REFERENCE, BF16, OPENVINO], bench.open, 20.0)
    assert found.untried == ()
    assert runtime.choice.hint == "throughput"
    assert bench.clock[0] < 20.0


def test_out_of_time_the_likeliest_is_tried_and_the_rest_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = quick_bench(monkeypatch, slow=100.0)
    bench.opening_seconds = 5.0
    found, runtime = choose_runtime(subject_of(), [REFERENCE, BF16, OPENVINO], bench.open, 20.0)
    assert runtime.choice == found.choice == BF16
    assert found.untried == (OPENVINO, Choice("openvino", "bf16", "throughput"))
    assert verdicts(found) == {
        "fp32 onnxruntime latency": "within tolerance",
        "bf16 openvino latency": "chosen",
        "fp32 openvino latency": OUT_OF_TIME,
        "bf16 openvino throughput": OUT_OF_TIME,
    }
    assert [opened.choice for opened in bench.opened] == [REFERENCE, BF16]
    assert [opened for opened in bench.opened if not opened.closed] == [runtime]


def test_out_of_time_a_wrong_runtime_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, onnxruntime_fp32=(1.0, right), openvino_bf16=(0.1, garbage_alone))
    found, runtime = choose_runtime(subject_of(), [REFERENCE, BF16, OPENVINO], bench.open, 1.0)
    assert runtime.choice == REFERENCE
    assert verdicts(found)["bf16 openvino latency"].startswith("leaves")
    assert found.untried == (OPENVINO,)


def test_where_the_likeliest_cannot_run_the_next_one_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, onnxruntime_fp32=(1.0, right), openvino_fp32=(0.1, right))
    found, _ = choose_runtime(subject_of(), [REFERENCE, BF16, OPENVINO], bench.open, 1.0)
    assert found.choice == OPENVINO


def test_the_one_configured_choice_serves_however_little_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = quick_bench(monkeypatch, slow=100.0)
    found, _ = choose_runtime(subject_of(), [BF16], bench.open, 0.001)
    assert found.choice == BF16
    assert found.untried == (Choice("openvino", "bf16", "throughput"),)


@pytest.mark.parametrize("busy_from", [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
def test_a_machine_that_gets_busy_prolongs_it_by_little(
    monkeypatch: pytest.MonkeyPatch, busy_from: float
) -> None:
    """By a compilation (10 s here) and a batch of 8 (1.6 s); where it gets so before two runtimes
    were compared, by what that takes with few inputs (25 s)."""
    bench = quick_bench(monkeypatch)
    bench.opening_seconds = 0.5
    bench.slowness = lambda now: 20.0 if now >= busy_from else 1.0
    found, runtime = choose_runtime(subject_of(), [REFERENCE, BF16, OPENVINO], bench.open, 20.0)
    assert bench.clock[0] <= 20.0 + 10.0 + (1.6 if busy_from >= 3.0 else 25.0)
    assert runtime.choice.precision == "bf16"
    assert [opened for opened in bench.opened if not opened.closed] == [runtime]
    assert bench.clock[0] < 20.0 or found.untried


def test_a_cut_choice_is_kept_as_such(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench = quick_bench(monkeypatch, slow=100.0)
    found, _ = choose_runtime(subject_of(), [REFERENCE, BF16, OPENVINO], bench.open, 1.0)
    keep_choice(tmp_path, "key", found)
    kept = read_choice(tmp_path, "key")
    assert kept == found
    assert kept.untried[0] == OPENVINO


def test_eight_bits_have_a_tolerance_of_their_own_only_by_contract() -> None:
    assert subject_of().tolerance_of("int8") == 0.02
    holding = subject_of(dataclasses.replace(CONTRACT, eight_bit_holds=True))
    assert holding.tolerance_of("int8") == 0.5
    assert holding.tolerance_of("bf16") == 0.02


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(right, True), (rounded, True), (garbage_in_batches, False), (garbage_alone, False)],
)
def test_a_kept_choice_is_compared_again_at_every_start(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, expected: bool
) -> None:
    bench = Bench(monkeypatch, onnxruntime_fp32=(0.01, right), openvino_bf16=(0.001, fault))
    kept, _ = choose_runtime(subject_of(), [REFERENCE], bench.open)
    assert holds(subject_of(), bench.open(BF16), kept) is expected


def test_nan_never_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, onnxruntime_fp32=(0.01, right), openvino_bf16=(0.001, one_nan))
    kept, _ = choose_runtime(subject_of(), [REFERENCE], bench.open)
    assert not holds(subject_of(), bench.open(BF16), kept)


@pytest.mark.parametrize(
    ("config", "bf16", "int8", "eight_bit", "expected"),
    [
        (RuntimeConfig(), False, True, False, ["onnxruntime fp32", "openvino fp32"]),
        (
            RuntimeConfig(),
            True,
            True,
            True,
            [
                "onnxruntime fp32",
                "openvino bf16",
                "openvino int8",
                "onnxruntime int8",
                "openvino fp32",
            ],
        ),
        (
            RuntimeConfig(),
            True,
            False,
            True,
            ["onnxruntime fp32", "openvino bf16", "openvino fp32"],
        ),
        (RuntimeConfig(runtime="onnxruntime"), True, True, False, ["onnxruntime fp32"]),
        (RuntimeConfig(precision="bf16"), False, False, False, ["openvino bf16"]),
        (RuntimeConfig(runtime="onnxruntime", precision="bf16"), True, True, True, []),
    ],
)
def test_flags_narrow_and_the_configuration_overrules(
    config: RuntimeConfig, bf16: bool, int8: bool, eight_bit: bool, expected: list[str]
) -> None:
    machine = Machine("a CPU", 2, bf16, int8)
    choices = choices_for(config, machine, eight_bit)
    assert [f"{choice.runtime} {choice.precision}" for choice in choices] == expected


@pytest.mark.parametrize(
    ("flags", "bf16", "int8"),
    [
        ("flags\t\t: fpu avx2 avx512_vnni avx512_bf16", True, True),
        ("flags : fpu avx2", False, False),
        ("flags : amx_bf16 amx_tile", True, False),
        ("Features : fp asimd bf16 i8mm", True, True),
        ("", False, False),
    ],
)
def test_flags_of_cpus(tmp_path: Path, flags: str, bf16: bool, int8: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(f"model name : Some CPU\ncpu family : 6\nmodel : 3\nstepping : 1\n{flags}\n")
    machine = read_machine(path)
    assert (machine.has_bf16, machine.has_int8) == (bf16, int8)
    assert machine.name == "Some CPU (6/3/1)"
    assert machine.threads >= 1
    assert read_machine(tmp_path / "none").name


def kept_choice(monkeypatch: pytest.MonkeyPatch) -> RuntimeChoice:
    bench = Bench(monkeypatch, onnxruntime_fp32=(0.01, right))
    return choose_runtime(subject_of(), [REFERENCE, BF16], bench.open)[0]


def test_choices_are_kept_side_by_side(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = Machine("a CPU", 2, True, True)
    first = choice_key(machine, CONTRACT, RuntimeConfig())
    second = choice_key(machine, CONTRACT, RuntimeConfig(threads=8))
    assert "a CPU, 2 threads" in first
    assert "fake@1" in first
    found = kept_choice(monkeypatch)
    other = dataclasses.replace(found, choice=OPENVINO)
    keep_choice(tmp_path / "new", first, found)
    keep_choice(tmp_path / "new", second, other)
    assert read_choice(tmp_path / "new", first) == found
    assert read_choice(tmp_path / "new", second) == other
    assert read_choice(tmp_path / "new", "another machine") is None


@pytest.mark.parametrize("content", ["", "[]", '{"key": {"choice": 3}}', '{"key": null}'])
def test_a_damaged_file_counts_as_nothing_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    (tmp_path / CHOICE_FILE).write_text(content)
    assert read_choice(tmp_path, "key") is None
    found = kept_choice(monkeypatch)
    keep_choice(tmp_path, "key", found)
    assert read_choice(tmp_path, "key") == found


def test_a_folder_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"runtimes\.json cannot be written"):
        keep_choice(tmp_path / "file", "key", kept_choice(monkeypatch))
