"""The main job from the command line: a recording in, a head that an engine plays out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage.take import Take
from tests.gltf_reader import read_glb
from tests.gltf_validator import assert_valid_gltf

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 12


def mien(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does; it must end with the code and never show a traceback."""
    command = [sys.executable, "-c", "from workflows.cli import main; main()", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    out = tmp_path_factory.mktemp("main_job") / "recording"
    mien("simulate", out, "--frames", FRAMES, "--subject", 0)
    return out


@pytest.fixture(scope="module")
def finished(recording, tmp_path_factory):
    """The job run without the truth at hand, which then comes back for evaluation."""
    out = tmp_path_factory.mktemp("finished")
    truth, aside = recording / "truth", recording.parent / "truth_aside"
    truth.rename(aside)
    mien("run", recording, out)
    mien("evaluate", out / "take.zarr", code=2)
    aside.rename(truth)
    return out


def results(folder: Path) -> dict[str, str]:
    """Digests of everything a run produced."""
    stored = Take.open(folder / "take.zarr").results
    return {f"{step}/{run}": stored.read(step, run).digest for step in stored.steps() for run in stored.runs(step)}


@pytest.mark.slow
def test_results_are_the_same_with_and_without_truth_at_hand(recording, finished, tmp_path):
    mien("run", recording, tmp_path)
    assert results(tmp_path) == results(finished)
    for name in ("head.glb", "surface.ply"):
        assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()


def test_the_head_is_near_the_truth(finished):
    figures = json.loads(mien("evaluate", finished / "take.zarr", "--json").stdout)
    assert all(isinstance(value, float | int) for value in figures.values()), "one flat object of figures"
    assert figures["vertex_error_mm_median"] <= 2.0
    assert figures["expression_ratio"] <= 0.8
    assert figures["depth_to_mesh_mm_median"] <= 1.0
    assert figures["surface_accuracy_mm_median"] <= 0.6
    assert "expression_mae_active" in figures


def test_an_engine_would_play_exactly_what_was_fitted(finished):
    """An independent reader gets the stored vertices at every frame, within 0.05 mm."""
    path = finished / "head.glb"
    assert_valid_gltf(path)
    glb, fit = read_glb(path), Take.open(finished / "take.zarr").results.read("fit")
    vertices, faces = np.asarray(fit["vertices"]).astype(float), np.asarray(fit["faces"])
    extras = glb.json["scenes"][0]["extras"]
    world_from_origin = np.array(extras["world_from_origin"]).reshape(4, 4)
    assert len(glb.keyframe_times_s) == len(vertices) == FRAMES
    for frame, time_s in enumerate(glb.keyframe_times_s):
        corners = glb.corners(time_s) @ world_from_origin[:3, :3].T + world_from_origin[:3, 3]
        assert np.abs(corners - vertices[frame][faces]).max() < 5e-5
    assert "extensionsRequired" not in glb.json
    assert len(glb.target_names) == 52 and "jawOpen" in glb.target_names
    assert glb.image().shape[0] >= 512


def test_every_target_moves_something(finished):
    from export.gltf import weak_targets
    from workflows.exporting import head_asset

    asset = head_asset(Take.open(finished / "take.zarr"))
    assert weak_targets(asset) == ()
    neck_ring = asset.vertices[np.argsort(asset.vertices[:, 1])[:20]]
    assert np.linalg.norm(neck_ring.mean(0)) < 0.12, "the origin is the neck joint"


def test_the_report_and_the_surface_are_there(finished):
    import trimesh

    page = (finished / "report.html").read_text()
    assert page.count("data:image/") > 10 and "sim-0000" in page
    surface = trimesh.load_mesh(finished / "surface.ply")
    assert len(surface.vertices) > 5000
    assert np.ptp(surface.vertices, axis=0).max() < 0.5


def test_running_again_changes_nothing(recording, finished):
    before = {
        path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.is_file() and "log" not in path.parts
    }
    mien("run", recording, finished)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_recording_in_the_same_place_needs_overwrite(recording, finished, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(recording, other)
    table = other / "m0_rgb" / "frames.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    assert "--overwrite" in mien("run", other, finished, code=2).stderr


def test_a_file_that_mien_did_not_write_is_kept(recording, finished, tmp_path):
    (tmp_path / "head.glb").write_text("mine")
    assert "--overwrite" in mien("run", recording, tmp_path, code=2).stderr
    mien("export", finished / "take.zarr", tmp_path / "head.glb", code=2)
    assert (tmp_path / "head.glb").read_text() == "mine"


def test_every_command_answers_in_json_alone(finished):
    take = finished / "take.zarr"
    for arguments in (("inspect", take), ("check", take), ("fit", take), ("fuse", take), ("models", "list")):
        json.loads(mien(*arguments, "--json").stdout)


def test_a_portrait_becomes_a_head(real_data, tmp_path):
    portrait = real_data / "rgbd" / "truedepth_portraits" / "heic_face_data.heic"
    mien("run", portrait, tmp_path)
    assert_valid_gltf(tmp_path / "head.glb")
    figures = json.loads(mien("evaluate", tmp_path / "take.zarr", "--json").stdout)
    assert figures["depth_to_mesh_mm_median"] <= 3.0
    read_glb(tmp_path / "head.glb")


def test_a_scan_is_reconstructed(real_data, tmp_path):
    scan = real_data / "meshes" / "menpo3d" / "james.obj"
    mien("simulate", tmp_path / "recording", "--scan", scan, "--unit", "mm", "--frames", 2)
    mien("run", tmp_path / "recording", tmp_path / "out")
    assert_valid_gltf(tmp_path / "out" / "head.glb")
    figures = json.loads(mien("evaluate", tmp_path / "out" / "take.zarr", "--json").stdout)
    assert figures["surface_accuracy_mm_median"] <= 1.0
