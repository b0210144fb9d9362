"""Results count once they are whole, and say what made them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from geometry.errors import InputError
from storage.integrity import verify_take
from storage.places import LocalPlace, place_of
from storage.provenance import Provenance
from storage.results import PartialArray, Results
from storage.schema import ResultArray
from storage.take import Take
from tests.storage.synthetic_take import Killed, tree, write_take

CONFIG = {"voxel_size_m": 0.002, "stages": ("rigid", "identity"), "limit": None}
INPUTS = {"take": "12ab"}
ORIGIN = Provenance(CONFIG, INPUTS, {"error_mm": 1.5, "never": float("nan")}, "CC0-1.0", "0.1", "c1")


def _arrays(seed: int = 0) -> dict[str, ResultArray]:
    rng = np.random.default_rng(seed)
    curves = {"curve": ("jawOpen", "mouthSmileLeft")}
    return {
        "vertices": ResultArray(rng.normal(size=(30, 5000, 3)).astype(np.float32), ("frame", "vertex", "xyz"), "m"),
        "expression": ResultArray(rng.random((30, 2)), ("frame", "curve"), "1", curves),
        "seen": ResultArray(rng.random(30) < 0.5, ("frame",)),
        "scale": ResultArray(np.array(1.25), (), "1"),
        "faces": ResultArray(np.arange(12, dtype=">i4").reshape(4, 3), ("face", "corner")),
        "none": ResultArray(np.zeros((0, 3), np.float16), ("landmark", "xyz"), "m"),
    }


@pytest.fixture(params=["local", "memory"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Results:
    return Results(place_of(tmp_path if request.param == "local" else f"memory://results/{tmp_path.name}"))


def test_values_and_origin_come_back(results: Results) -> None:
    results.write("fit", "default", _arrays(), ORIGIN)
    stored = results.read("fit")
    assert set(stored.arrays) == set(_arrays())
    for name, array in _arrays().items():
        assert stored[name].axes == array.axes and stored[name].unit == array.unit
        np.testing.assert_array_equal(stored[name][...], array.values)
        assert stored[name].shape == array.values.shape
    assert stored["expression"].labels("curve") == ("jawOpen", "mouthSmileLeft")
    np.testing.assert_array_equal(np.asarray(stored["vertices"]), _arrays()["vertices"].values)
    for rows in (slice(3, 9), slice(None, None, 7), slice(40, 50), slice(-2, None)):
        np.testing.assert_array_equal(stored["vertices"][rows], _arrays()["vertices"].values[rows])
    np.testing.assert_array_equal(stored["vertices"][-1], _arrays()["vertices"].values[-1])
    assert stored.provenance.config == CONFIG | {"stages": ["rigid", "identity"]}
    assert stored.provenance.inputs == INPUTS and stored.provenance.licence == "CC0-1.0"
    assert stored.provenance.metrics == {"error_mm": 1.5, "never": None}
    assert (results.steps(), results.runs("fit"), results.runs("fuse")) == (["fit"], ["default"], [])


def test_a_row_is_read_without_the_rest(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write("fit", "default", _arrays(), ORIGIN)
    vertices = results.read("fit")["vertices"]
    assert vertices.spec.file_count == 2
    read: list[str] = []
    original = type(results.place).read
    monkeypatch.setattr(type(results.place), "read", lambda self, *a: read.append(a[0]) or original(self, *a))
    _ = vertices[3]
    assert len(read) == 1


def test_plain_zarr_reads_a_result(tmp_path: Path) -> None:
    Results(place_of(tmp_path)).write("fit", "default", _arrays(), ORIGIN)
    group = zarr.open_group(tmp_path / "results", mode="r")
    assert group["fit/default"].attrs["state"] == "complete"
    for name, array in _arrays().items():
        stored = group[f"fit/default/{name}"]
        assert isinstance(stored, zarr.Array)
        np.testing.assert_array_equal(stored[...], array.values)


def test_what_is_not_there_names_the_command_that_makes_it(results: Results) -> None:
    with pytest.raises(InputError, match="run `mien fit "):
        results.read("fit")
    results.write("fit", "default", _arrays(), ORIGIN)
    with pytest.raises(InputError, match=r"\(vertices, .*'texture'"):
        _ = results.read("fit")["texture"]
    with pytest.raises(InputError, match="fit/other"):
        results.read("fit", "other")
    with pytest.raises(InputError, match="a name for a run"):
        results.write("fit", "../other", _arrays(), ORIGIN)
    results.remove("fit")
    assert results.steps() == []


def test_equal_work_is_a_no_op_and_other_work_needs_overwrite(results: Results) -> None:
    assert not results.is_current("fit", "default", CONFIG, INPUTS)
    assert results.claim("fit", "default", CONFIG, INPUTS)
    results.write("fit", "default", _arrays(), ORIGIN)
    assert results.is_current("fit", "default", CONFIG, INPUTS)
    assert not results.claim("fit", "default", CONFIG, INPUTS)
    for config, inputs, what in (({}, INPUTS, "settings"), (CONFIG, {"take": "other"}, "inputs")):
        assert not results.is_current("fit", "default", config, inputs)
        with pytest.raises(InputError, match=f"other {what}.*--overwrite"):
            results.claim("fit", "default", config, inputs)
        with pytest.raises(InputError, match="--overwrite"):
            results.write("fit", "default", _arrays(1), Provenance(config, inputs))
        np.testing.assert_array_equal(results.read("fit")["seen"][...], _arrays()["seen"].values)
    before = results.read("fit").digest
    results.write("fit", "default", {"seen": _arrays()["seen"]}, Provenance({}, INPUTS), overwrite=True)
    assert set(results.read("fit").arrays) == {"seen"}
    assert results.read("fit").digest != before


def test_the_digest_follows_every_value(results: Results) -> None:
    digests = set()
    for flip in range(3):
        arrays = _arrays()
        arrays["vertices"].values[29, 4999, 2] += flip
        results.write("fit", f"run-{flip}", arrays, ORIGIN)
        results.write("fit", f"again-{flip}", arrays, ORIGIN)
        assert results.read("fit", f"run-{flip}").digest == results.read("fit", f"again-{flip}").digest
        digests.add(results.read("fit", f"run-{flip}").digest)
    assert len(digests) == 3


@pytest.mark.parametrize("overwriting", [False, True])
def test_a_killed_writer_leaves_nothing_that_reads_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwriting: bool
) -> None:
    """Killed at every single write, one after the other."""
    whole = tmp_path / "whole"
    Results(place_of(whole)).write("fit", "default", _arrays(), ORIGIN)
    writes, survived, finished = 0, 0, False
    original = LocalPlace.write
    for survived in range(40):
        results = Results(place_of(tmp_path / str(survived)))
        if overwriting:
            results.write("fit", "default", _arrays(5), Provenance({"older": True}, {}))
        writes = 0

        def counted(self: LocalPlace, *arguments: Any, limit: int = survived) -> None:
            nonlocal writes
            if writes == limit:
                raise Killed
            writes += 1
            original(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(LocalPlace, "write", counted)
            try:
                results.write("fit", "default", _arrays(), ORIGIN, overwrite=True)
            except Killed:
                assert not results.is_current("fit", "default", CONFIG, INPUTS)
                if not (overwriting and survived == 0):
                    with pytest.raises(InputError):
                        results.read("fit")
                finished = False
            else:
                finished = True
        results.write("fit", "default", _arrays(), ORIGIN, overwrite=True)
        assert tree(tmp_path / str(survived)) == tree(whole)
        if finished:
            break
    assert finished and survived > 10


def test_damaged_metadata_is_no_result(tmp_path: Path) -> None:
    results = Results(place_of(tmp_path))
    results.write("fit", "default", _arrays(), ORIGIN)
    for garbage in (b"", b"\xff", b"[1]", b"{}", b'{"attributes": {"state": "complete"}}', b"[" * 100_000):
        (tmp_path / "results/fit/default/zarr.json").write_bytes(garbage)
        assert not results.is_current("fit", "default", CONFIG, INPUTS)
        with pytest.raises(InputError):
            results.read("fit")


PARTIAL = {
    "vertices": PartialArray((6, 10, 3), "float32", ("frame", "vertex", "xyz"), "m"),
    "error": PartialArray((6,), "float64", ("frame",), "mm"),
}


def _row(row: int) -> dict[str, np.ndarray]:
    return {"vertices": np.full((10, 3), row, np.float32), "error": np.array(row / 7)}


def test_a_result_by_rows_resumes(tmp_path: Path) -> None:
    results = Results(place_of(tmp_path / "a"))
    partial = results.begin_partial("fit", "default", PARTIAL, ORIGIN)
    assert partial is not None and partial.pending() == list(range(6))
    for row in (4, 0, 1):
        partial.write(row, _row(row))
    with pytest.raises(InputError):
        results.read("fit")
    with pytest.raises(ValueError, match="3 rows"):
        partial.finish()
    torn = tmp_path / "a/results/fit/default/error/c/1"
    torn.write_bytes(torn.read_bytes()[:-3])
    (torn.parent / "1.77.partial").write_bytes(b"x")
    partial = results.begin_partial("fit", "default", PARTIAL, ORIGIN)
    assert partial is not None and partial.pending() == [1, 2, 3, 5]
    for row in partial.pending():
        partial.write(row, _row(row))
    partial.finish({"error_mm": 2.0})
    stored = results.read("fit")
    np.testing.assert_array_equal(stored["error"][...], np.arange(6) / 7)
    np.testing.assert_array_equal(stored["vertices"][5], _row(5)["vertices"])
    assert stored.provenance.metrics == {"error_mm": 2.0}
    assert results.begin_partial("fit", "default", PARTIAL, ORIGIN) is None

    straight = Results(place_of(tmp_path / "b"))
    partial = straight.begin_partial("fit", "default", PARTIAL, ORIGIN)
    assert partial is not None
    for row in range(6):
        partial.write(row, _row(row))
    partial.finish({"error_mm": 2.0})
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_an_unfinished_result_of_another_origin_starts_again(tmp_path: Path) -> None:
    results = Results(place_of(tmp_path))
    partial = results.begin_partial("fit", "default", PARTIAL, ORIGIN)
    assert partial is not None
    partial.write(2, _row(2))
    other = Provenance({"voxel_size_m": 0.004}, INPUTS)
    partial = results.begin_partial("fit", "default", PARTIAL, other)
    assert partial is not None and partial.pending() == list(range(6))
    with pytest.raises(ValueError, match="no row"):
        partial.write(6, _row(6))
    with pytest.raises(ValueError, match="no row"):
        partial.write(0, _row(0) | {"error": np.array([0.5])})
    for row in range(6):
        partial.write(row, _row(row))
    partial.finish()
    with pytest.raises(InputError, match="--overwrite"):
        results.begin_partial("fit", "default", PARTIAL, ORIGIN)
    partial = results.begin_partial("fit", "default", PARTIAL, ORIGIN, overwrite=True)
    assert partial is not None and len(partial.pending()) == 6


def test_results_live_in_the_take_and_are_verified_with_it(tmp_path: Path) -> None:
    path = tmp_path / "take.zarr"
    write_take(path)
    take = Take.open(path)
    take.results.write("fit", "default", _arrays(), Provenance(CONFIG, {"take": take.digest}))
    assert verify_take(path) == []
    chunk = path / "results/fit/default/vertices/c/1/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"\x00")
    (path / "results/fit/default/faces/c/0/0").unlink()
    faults = {fault.path: fault.problem for fault in verify_take(path)}
    assert set(faults) == {"results/fit/default/vertices/c/1/0/0", "results/fit/default/faces/c/0/0"}
    assert take.results.begin_partial("fuse", "default", PARTIAL, ORIGIN) is not None
    assert len(verify_take(path)) == 2


def test_what_cannot_be_stored_says_so(results: Results) -> None:
    for values, axes in ((np.array(["a"]), ("name",)), (np.zeros(3), ("x", "y")), (np.zeros((2, 2)), ("x", "x"))):
        with pytest.raises(ValueError):
            results.write("fit", "default", {"wrong": ResultArray(values, axes)}, ORIGIN)
    with pytest.raises(TypeError, match="object"):
        results.write("fit", "default", {}, Provenance({"thing": object()}, {}))
    assert results.steps() == []
