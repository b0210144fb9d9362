"""What the fit's benchmark makes of its runs: nothing that was not measured passes for a figure."""

import math
from pathlib import Path

import pytest

from benchmarks import fit
from benchmarks.fit_adam import AdamRun, Error
from benchmarks.fit_desk import SHORT, add_means, add_seconds, add_worst
from benchmarks.fit_peers import FRAMES, best_run, tracking_seconds_per_frame
from benchmarks.fit_runs import FitRun
from benchmarks.fit_takes import TakeConfig
from benchmarks.ingest_table import Table


def values(table: Table) -> dict[str, float]:
    return {metric.key: metric.value for metric in table.metrics}


def run(**seconds: float) -> FitRun:
    return FitRun(Path("take.zarr"), 10, seconds, 99.0, {})


def test_means_are_over_people_and_a_missing_figure_is_not_a_number():
    table = Table()
    rows = [dict.fromkeys(SHORT, 1.0), dict.fromkeys(SHORT, 3.0)]
    add_means(table, rows, "mono_", SHORT)
    assert values(table) == {f"mono_{key}": 2.0 for key in SHORT}
    del rows[0]["expression_ratio"]
    add_means(table, rows, "", SHORT)
    assert math.isnan(values(table)["expression_ratio"]) and values(table)["vertex_error_mm_p95"] == 2


def test_lag_and_gaps_are_the_worst_persons_whatever_their_sign():
    table = Table()
    late = {"lag_frames": -1.0, "lag_frames_fine": -0.8, "silent_gaps": 2.0, **dict.fromkeys(SHORT, 1.0)}
    on_time = {"lag_frames": 0.0, "lag_frames_fine": 0.1, "silent_gaps": 1.0, **dict.fromkeys(SHORT, 2.0)}
    add_worst(table, [late, on_time])
    found = values(table)
    assert (found["lag_frames"], found["lag_frames_fine"], found["silent_gaps"]) == (1, 0.8, 3)
    assert found["worst_vertex_error_mm_median"] == 2


def test_the_persons_own_step_is_counted_apart_and_landmarks_with_the_frames():
    steps = run(landmarks=2.0, person=30.0, fit=3.0)
    assert steps.seconds_per_frame == pytest.approx(0.5) and steps.identity_s == 30
    assert tracking_seconds_per_frame(steps) == pytest.approx(0.3), "a peer that is given landmarks need not find them"
    table = Table()
    add_seconds(table, [steps, run(landmarks=1.0, fit=9.0)])
    assert "fit_identity_seconds" not in values(table), "not a figure where a fit does not tell it"


def test_of_learning_rates_the_one_counts_that_gets_there():
    slow = AdamRun(9.0, 900, FRAMES, Error(0.5, 0.03))
    fast = AdamRun(4.0, 400, FRAMES, Error(0.5, 0.03))
    nearer = AdamRun(1.0, 100, FRAMES - 1, Error(0.4, 0.02))
    assert best_run([slow, nearer, fast]) == fast
    assert best_run([nearer, AdamRun(0.5, 50, FRAMES - 1, Error(0.6, 0.02))]) == nearer
    assert (
        best_run([AdamRun(9.0, 900, FRAMES - 1, Error(0.5, 0.03)), AdamRun(2.0, 90, 0, Error(0.3, 0.1))]).reached == 0
    )


def test_parts_and_the_folder_that_is_kept():
    assert fit.parts_and_folder(["desk", "--keep", "here", "--json", "mono"]) == (["desk", "mono"], Path("here"))
    assert fit.parts_and_folder(["--json"]) == ([], None)
    for part in fit.PARTS:
        assert (Path(fit.__file__).parent / f"fit_{part}.py").is_file()


def test_every_take_has_a_folder_of_its_own():
    configs = [
        TakeConfig(1), TakeConfig(2), TakeConfig(1, "vocap"), TakeConfig(1, frames=30), TakeConfig(1, in_model=True),
        TakeConfig(1, cameras=("m1_rgb",)), TakeConfig(1, cameras=("m1_rgb", "m1_depth")), TakeConfig(1, first=15),
    ]  # fmt: skip
    assert len({config.name for config in configs}) == len(configs)
    assert configs[5].whole == configs[7].whole == configs[0]
