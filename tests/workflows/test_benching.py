"""The gate lets nothing through that misses its target, is worse than the baseline or was not measured."""

import json
import math
import subprocess
import sys
import tomllib
from dataclasses import replace
from typing import Literal

import pytest

from geometry.errors import InputError
from workflows import benching, cli
from workflows.benching import BENCHMARKS, FOLDER, NEEDS, TARGETS, Figures, Metric, as_json, bench, judge

NOTHING = FOLDER / "no such baseline.json"


def metric(key: str, value: float, direction: Literal["lower", "higher"] = "lower", unit: str = "mm") -> Metric:
    return Metric(key, value, unit, direction, 0.1)


def test_every_target_belongs_to_a_benchmark_has_a_side_and_known_needs():
    targets = tomllib.loads(TARGETS.read_text())
    assert set(targets) <= set(BENCHMARKS)
    for target in (target for table in targets.values() for target in table.values()):
        assert len({"at_most", "at_least"} & set(target)) == 1
        assert set(target) <= {"at_most", "at_least", "needs"}
        assert set(target.get("needs", [])) <= set(NEEDS)


def test_the_gate_names_what_falls_short():
    def missed(*metrics: Metric) -> list[str]:
        return judge({"portrait": Figures(list(metrics))}, baseline=NOTHING).missed

    key = "depth_to_mesh_mm_median"
    assert missed(metric(key, 2.9)) == []
    assert "above 3.0" in missed(metric(key, 3.1))[0]
    assert "not measured" in missed()[0]
    assert missed(metric(key, math.nan)), "nan reaches no target"


def test_only_what_the_machine_lacks_is_not_counted(tmp_path):
    targets = tmp_path / "targets.toml"
    targets.write_text('[raster]\nplain = { at_most = 1 }\non_gpu = { at_most = 1, needs = ["cuda", "pytorch3d"] }\n')

    def verdict(**absent: str):
        return judge({"raster": Figures([metric("plain", 1)], absent)}, targets, NOTHING)

    assert verdict(on_gpu="cuda").not_counted == ["raster: on_gpu (needs CUDA)"]
    assert verdict(on_gpu="cuda").missed == []
    assert verdict().missed == ["raster: on_gpu was not measured"], "a figure that went missing has no excuse"
    assert verdict(on_gpu="peers").missed == ["raster: on_gpu was not measured"], "nor has one with another excuse"
    present = Figures([metric("plain", 1), metric("on_gpu", 2)])
    assert "above 1" in judge({"raster": present}, targets, NOTHING).missed[0]


@pytest.mark.parametrize(("direction", "worse", "better"), [("lower", 1.2, 0.5), ("higher", 0.8, 2.0)])
def test_the_gate_fails_on_what_is_worse_than_the_baseline(tmp_path, direction, worse, better):
    baseline, targets = tmp_path / "baseline.json", tmp_path / "targets.toml"
    targets.write_text("")
    first = metric("ratio", 1.0, direction, "1")
    benching.update_baseline({"scan": Figures([first])}, baseline)

    def missed(value: float, unit: str = "1") -> list[str]:
        return judge({"scan": Figures([replace(first, value=value, unit=unit)])}, targets, baseline).missed

    assert "worse than the baseline's 1" in missed(worse)[0]
    assert missed(better) == missed(1.0) == []
    assert missed(math.nan)
    assert missed(worse, unit="ms") == [], "times of different machines do not compare"
    assert "was not measured" in judge({"scan": Figures([])}, targets, baseline).missed[0]
    assert judge({"desk": Figures([first])}, targets, baseline).missed == [], "another benchmark's figure"


def test_an_update_rewrites_what_was_run_and_keeps_what_could_not_be(tmp_path):
    baseline = tmp_path / "baseline.json"
    old = [metric("stays", 1), metric("renamed", 1), metric("on_gpu", 1)]
    benching.update_baseline({"raster": Figures(old), "scan": Figures([metric("a", 3)])}, baseline)
    benching.update_baseline({"raster": Figures([metric("stays", 2)], {"on_gpu": "cuda"})}, baseline)
    entries = json.loads(baseline.read_text())
    values = {name: {key: entry["value"] for key, entry in table.items()} for name, table in entries.items()}
    assert values == {"raster": {"stays": 2, "on_gpu": 1}, "scan": {"a": 3}}
    assert all(entry["machine"] for table in entries.values() for entry in table.values())


def test_the_committed_baseline_holds_figures_of_known_benchmarks():
    entries = json.loads(benching.BASELINE.read_text())
    assert set(entries) <= set(BENCHMARKS)
    assert all(math.isfinite(entry["value"]) for table in entries.values() for entry in table.values())


def test_keys_carry_the_benchmark_only_where_there_are_several():
    one = as_json({"scan": Figures([metric("a", 1.0)], {"b": "cuda"})})
    two = as_json({"scan": Figures([metric("a", 1.0)]), "desk": Figures([metric("a", 2.0)], {"b": "cuda"})})
    assert one["metrics"][0] == {"key": "a", "value": 1.0, "unit": "mm", "direction": "lower", "rel_tol": 0.1}
    assert one["absent"] == {"b": "cuda"}
    assert [row["key"] for row in two["metrics"]] == ["scan.a", "desk.a"]
    assert two["absent"] == {"desk.b": "cuda"}


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(InputError, match="portrait, scan, raster"):
        bench("olympics")


def test_the_rasterizers_script_answers_in_json(monkeypatch, tmp_path):
    rows = {"metrics": [vars(metric("raster_x", 0.5, unit="1"))], "absent": {"raster_cuda_ms": "cuda"}}
    (tmp_path / "raster.py").write_text(f"import sys\nassert sys.argv[1:] == ['--json']\nprint({json.dumps(rows)!r})\n")
    monkeypatch.setattr(benching, "FOLDER", tmp_path)
    figures = bench("raster")["raster"]
    assert as_json({"raster": figures}) == rows
    (tmp_path / "raster.py").write_text("raise SystemExit(3)")
    with pytest.raises(InputError, match="exit code 3"):
        bench("raster")


@pytest.mark.parametrize(("value", "code"), [(0.1, 0), (9.0, 1)])
def test_the_command_exits_with_1_on_a_shortfall_and_prints_one_object(monkeypatch, capsys, tmp_path, value, code):
    figures = Figures([metric("raster_x", value, unit="1")], {"raster_cuda_ms": "cuda"})
    (tmp_path / "targets.toml").write_text(
        "[raster]\nraster_x = { at_most = 1 }\nraster_cuda_ms = { at_most = 1, needs = ['cuda'] }\n"
    )
    monkeypatch.setitem(BENCHMARKS, "raster", lambda folder: figures)
    monkeypatch.setattr(benching, "TARGETS", tmp_path / "targets.toml")
    monkeypatch.setattr(benching, "BASELINE", tmp_path / "baseline.json")
    said = []
    monkeypatch.setattr("workflows.progress.say", said.append)
    assert cli.bench("raster", gate=True, update_baseline=True, as_json=True) == code
    assert json.loads(capsys.readouterr().out) == as_json({"raster": figures})
    assert said[0] == "not counted: raster: raster_cuda_ms (needs CUDA)"
    assert said[1:] == ["raster: raster_x is 9, above 1"] * code
    assert json.loads((tmp_path / "baseline.json").read_text())["raster"]["raster_x"]["value"] == value


def test_a_new_process_rasterizes_and_says_how_long_it_took(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    command = [sys.executable, str(FOLDER / "raster_process.py"), "first-call"]
    assert float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) > 0
    assert any((tmp_path / "warp").iterdir()), "its kernels lie in the folder it was given"
