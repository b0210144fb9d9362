"""A simulated recording is what a recorder writes: whole, repeatable, resumable, its truth apart."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from geometry.errors import InputError
from geometry.meshes import face_normals
from geometry.transforms import look_at
from rendering.arrays import rasterize_arrays
from storage.image_folder import FrameTable, RecordingCard
from storage.rig_json import read_rig
from studio.presets import PRESETS, calibrated
from studio.recorder import SimulationConfig, render_colour, render_depth, simulate
from studio.subject import draw_subject, off_basis_shape, scanned_subject
from tests.flame_fitting.landmarks.simulated import FACE_CENTRE, head, stage

SMALL = SimulationConfig(frames=2, subject=11)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    out = tmp_path_factory.mktemp("studio") / "recording"
    assert simulate(out, SMALL)
    return out


def test_it_holds_what_a_recorder_writes(recording):
    card, rig = RecordingCard.read(recording), read_rig(recording / "rig.json")
    assert card.cameras == rig.ids and len(rig.rgb) == len(rig.depth) == 4
    for camera in rig.cameras:
        table = FrameTable.read(recording / camera.id)
        assert len(table.files) == 2
        assert all((recording / camera.id / name).stat().st_size > 1000 for name in table.files)
    true = read_rig(recording / "truth" / "rig.json")
    shifts = [np.linalg.norm(a.centre_world - b.centre_world) for a, b in zip(rig.cameras, true.cameras, strict=True)]
    assert 0 < max(shifts) < 2e-3, "calibration is near the truth, not equal to it"


def test_the_same_again_is_left_alone_and_a_killed_one_continues_to_the_same_bytes(recording, tmp_path):
    assert not simulate(recording, SMALL)
    killed = tmp_path / "killed"
    shutil.copytree(recording, killed)
    (killed / "recording.json").unlink()
    (killed / "m2_rgb" / "000001.jpg").unlink()
    shutil.rmtree(killed / "truth")
    assert simulate(killed, SMALL)
    assert tree(killed) == tree(recording)


def test_something_else_in_the_way_needs_overwrite(recording, tmp_path):
    with pytest.raises(InputError, match="--overwrite"):
        simulate(recording, SimulationConfig(frames=3, subject=11))
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    with pytest.raises(InputError):
        simulate(foreign, SMALL, overwrite=True)
    assert (foreign / "thesis.txt").read_text() == "mine"


def test_usual_faults_drop_double_and_delay(tmp_path):
    out = tmp_path / "faulty"
    config = SimulationConfig(frames=12, subject=4, faults="usual", noise="none", off_basis=0)
    from studio.recorder import _recorded_triggers

    triggers = _recorded_triggers(config, PRESETS["desk"](30.0))
    assert any(kept[0] > 0 for kept in triggers), "a camera starts late"
    assert any(len(set(kept)) < len(kept) for kept in triggers), "a frame is doubled"
    assert all(set(kept) <= set(range(12)) for kept in triggers)
    assert not out.exists()
    alone = _recorded_triggers(SimulationConfig(frames=1, faults="usual"), PRESETS["vocap"](30.0))
    assert all(set(kept) == {0} for kept in alone), "a camera keeps at least one frame"


def test_vocap_has_the_shape_of_headsets_studio():
    rig = PRESETS["vocap"](30.0)
    assert len(rig.rgb) == 62 and len(rig.depth) == 31
    assert len({camera.module for camera in rig.cameras}) == 31
    centres = np.array([camera.centre_world for camera in rig.depth])
    assert np.linalg.matrix_rank(centres - centres.mean(0)) == 3
    assert calibrated(rig, 0).ids == rig.ids


def test_off_basis_shape_has_its_size_and_lies_outside(request):
    from flame_fitting.models.registry import load_head_model

    model = load_head_model()
    template = model.template.numpy().astype(float)
    shape = off_basis_shape(model, template, 3e-4, np.random.default_rng(0))
    face = model.region("face").numpy()
    assert np.sqrt((shape[face] ** 2).sum(1).mean()) == pytest.approx(3e-4)
    skin = model.region("skin").numpy()
    leading = model.identity_basis.numpy()[:60, skin].reshape(60, -1)
    inside = shape[skin].ravel() @ leading.T / (np.linalg.norm(leading, axis=1) * np.linalg.norm(shape[skin]))
    assert np.abs(inside).max() < 0.1


def test_exact_subjects_are_exact():
    from flame_fitting.models.registry import load_head_model

    model = load_head_model()
    exact = draw_subject(model, 3, 0.0)
    np.testing.assert_allclose(exact.expression_shapes, model.expression_basis.numpy(), atol=1e-7)
    own = draw_subject(model, 3)
    size = np.linalg.norm(exact.expression_shapes)
    assert 0.05 < np.linalg.norm(own.expression_shapes - exact.expression_shapes) / size < 0.4


def test_a_scan_in_the_wrong_unit_or_format_is_refused(tmp_path, real_data):
    scan = real_data / "meshes" / "menpo3d" / "james.obj"
    subject = scanned_subject(scan, "mm")
    assert 0.25 < np.ptp(subject.neutral, axis=0).max() < 0.4
    with pytest.raises(InputError, match="--unit"):
        scanned_subject(scan, "m")
    with pytest.raises(InputError, match="--unit"):
        scanned_subject(scan, "inch")
    text = tmp_path / "notes.obj"
    text.write_text("hello")
    with pytest.raises(InputError):
        scanned_subject(text, "mm")


@pytest.mark.parametrize("wrong", [{"preset": "attic"}, {"noise": "loud"}, {"frames": 0}, {"faults": "all"}])
def test_wrong_settings_say_what_is_right(wrong):
    with pytest.raises(InputError, match="--"):
        SimulationConfig(**wrong)
    assert json.dumps(wrong)


def test_no_camera_looks_into_a_head_through_its_open_neck():
    vertices = head()
    behind = np.array([0.0, -0.6, -0.5])
    pose = look_at(FACE_CENTRE + behind, FACE_CENTRE, np.array([0.0, 1.0, 0.0]))
    depth_camera = replace(stage().rig.depth[0], distortion=np.zeros(0), world_from_camera=pose)
    depth, _, mask = render_depth(stage(), depth_camera, vertices)
    screen, z = depth_camera.project(vertices)
    shown = rasterize_arrays(np.column_stack([screen, z]), stage().subject.faces, depth_camera.image_size_hw)
    middles = vertices[stage().subject.faces].mean(1)
    normals = face_normals(vertices, stage().subject.faces)
    inside = shown.mask & (((depth_camera.centre_world - middles) * normals).sum(1) < 0)[shown.face_index]
    assert inside.sum() > 500 and (shown.mask & ~inside).sum() > 5000, "it looks in at the neck, and at the head"
    assert not depth[inside].any() and not mask[inside].any()
    assert depth[shown.mask & ~inside].all() and mask[shown.mask & ~inside].all()
    colour_camera = replace(depth_camera, id="above", kind="rgb", depth_unit_m=None)
    radiance, colour_mask = render_colour(stage(), colour_camera, vertices)
    deep = cv2.erode(inside.astype(np.uint8), np.ones((5, 5))) > 0
    assert deep.any() and not colour_mask[deep].any()
    assert np.allclose(radiance[deep], radiance[0, 0]), "the backdrop"
