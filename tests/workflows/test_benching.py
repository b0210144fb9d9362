"""The gate lets nothing through that misses its target or was not measured."""

import tomllib

import pytest

from geometry.errors import InputError
from workflows.benching import BENCHMARKS, TARGETS, Metric, as_json, bench, shortfalls


def metric(key: str, value: float) -> Metric:
    return Metric(key, value, "mm", "lower", 0.1)


def test_every_target_belongs_to_a_benchmark_and_has_a_side():
    targets = tomllib.loads(TARGETS.read_text())
    assert set(targets) <= set(BENCHMARKS)
    assert all(
        set(bound) <= {"at_most", "at_least"} and bound for table in targets.values() for bound in table.values()
    )


def test_the_gate_names_what_falls_short():
    good, bad = metric("depth_to_mesh_mm_median", 2.9), metric("depth_to_mesh_mm_median", 3.1)
    assert shortfalls({"portrait": [good]}) == []
    assert "above 3.0" in shortfalls({"portrait": [bad]})[0]
    assert "not measured" in shortfalls({"portrait": []})[0]
    assert shortfalls({"portrait": [metric("depth_to_mesh_mm_median", float("nan"))]}), "nan reaches no target"


def test_keys_carry_the_benchmark_only_where_there_are_several():
    one = as_json({"scan": [metric("a", 1.0)]})
    two = as_json({"scan": [metric("a", 1.0)], "desk": [metric("a", 2.0)]})
    assert one["metrics"][0] == {"key": "a", "value": 1.0, "unit": "mm", "direction": "lower", "rel_tol": 0.1}
    assert [row["key"] for row in two["metrics"]] == ["scan.a", "desk.a"]


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(InputError, match="portrait"):
        bench("olympics")
