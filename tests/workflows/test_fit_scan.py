"""`mien fit-scan` on scans of heads that no model holds: any unit, any orientation, broken, resumed, and no heads."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import trimesh

from flame_fitting.landmarks.weights import landmark_weights
from flame_fitting.models.registry import load_head
from geometry.distance import point_to_mesh_distance
from geometry.errors import InputError
from studio.subject import draw_subject
from tests.gltf_reader import read_glb
from workflows.cli import main
from workflows.scan_fits import HEAD_GLB, HEAD_PLY, RECORD, scan_tasks

SUBJECT = 103
"""A person from outside the model's space."""


@pytest.fixture(scope="module", autouse=True)
def networks() -> None:
    try:
        landmark_weights()
    except InputError:
        pytest.skip("no landmark weights: run `mien models install`")


@dataclass(frozen=True)
class DrawnHead:
    """A person's skin, as a scanner would have it."""

    vertices: np.ndarray
    """Metres, head frame."""
    faces: np.ndarray
    """Triangles of skin and eyes."""
    truth: np.ndarray
    """All vertices of the model's topology."""


@pytest.fixture(scope="module")
def drawn() -> DrawnHead:
    """Skin and eyes of a drawn person, finer than the model and in another numbering."""
    model = load_head().model
    subject = draw_subject(model, SUBJECT)
    outside = (model.region("skin") | model.region("eyes")).numpy()
    mesh = trimesh.Trimesh(subject.neutral, subject.faces[outside[subject.faces].all(1)], process=False)
    mesh.remove_unreferenced_vertices()
    fine = mesh.subdivide()
    order = np.random.default_rng(0).permutation(len(fine.vertices))
    place = np.argsort(order)
    return DrawnHead(np.asarray(fine.vertices)[order], place[fine.faces], subject.neutral)


def turned(points: np.ndarray) -> np.ndarray:
    """Upside down, seen from behind, and rolled, far from the origin."""
    rotation = trimesh.transformations.euler_matrix(2.8, 0.5, 2.2)[:3, :3]
    return points @ rotation.T + [3.0, -2.0, 7.0]


def write(path: Path, vertices: np.ndarray, faces: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.Trimesh(vertices, faces, process=False).export(path)
    return path


def run(capfd: pytest.CaptureFixture, *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["fit-scan", *map(str, arguments)])
    said = capfd.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture(scope="module")
def fitted(drawn, tmp_path_factory) -> tuple[Path, Path]:
    """A scan in centimetres, upside down, wound inside out, with two vertices that are no numbers, and its head."""
    folder = tmp_path_factory.mktemp("fit-scan")
    vertices = turned(drawn.vertices) * 100
    vertices[[10, 2000]] = np.nan
    scan = write(folder / "person.ply", vertices, drawn.faces[:, ::-1])
    with pytest.raises(SystemExit) as ended:
        main(["fit-scan", str(scan), str(folder / "heads")])
    assert ended.value.code == 0
    return scan, folder / "heads" / "person"


def test_a_broken_scan_in_any_pose_and_unit_becomes_the_persons_head(fitted, drawn):
    record = json.loads((fitted[1] / RECORD).read_text())
    head = trimesh.load_mesh(fitted[1] / HEAD_PLY, process=False)
    model = load_head().model
    face, faces = model.region("face").numpy(), model.faces.numpy()
    truth = turned(drawn.truth)
    surface = point_to_mesh_distance(np.asarray(head.vertices)[face], truth, faces).distance
    vertex = np.linalg.norm(np.asarray(head.vertices) - truth, axis=1)[face]
    print(f"to the surface {1e3 * np.median(surface):.3f} mm, vertices {1e3 * np.median(vertex):.2f} mm")
    assert record["unit"]["name"] == "cm"
    assert record["repairs"]["vertices_not_finite"] == 2
    assert record["repairs"]["triangles_turned"] > 0.9 * len(drawn.faces) / 2
    assert np.array_equal(head.faces, faces)
    assert record["flipped"] == record["crossing"] == 0
    assert record["face_covered"] > 0.9
    assert record["scan_to_mesh_mm_median"] < 0.05
    assert np.median(surface) < 1.2e-4
    assert np.median(vertex) < 2.5e-3


def test_the_glb_plays_the_scans_face_where_the_scan_stood(fitted):
    glb = read_glb(fitted[1] / HEAD_GLB)
    ply = trimesh.load_mesh(fitted[1] / HEAD_PLY, process=False)
    corners = glb.corners(0.0)
    matrix = np.array(glb.json["scenes"][0]["extras"]["world_from_origin"])
    assert len(glb.target_names) == 52
    np.testing.assert_allclose(corners @ matrix[:3, :3].T + matrix[:3, 3], ply.vertices[ply.faces], atol=5e-6)


def test_what_is_done_is_left_alone_and_what_was_damaged_is_made_again(fitted, capfd, tmp_path):
    scan, folder = fitted
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    code, out, _ = run(capfd, scan, folder.parent, "--json")
    assert code == 0
    assert json.loads(out)["already_there"] == 1
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before
    (folder / HEAD_PLY).write_bytes(before[HEAD_PLY][0][:1000])
    code, out, _ = run(capfd, scan, folder.parent, "--json")
    assert json.loads(out)["fitted"] == 1
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {n: b for n, (b, _) in before.items()}


def test_one_bad_scan_of_many_is_named_and_the_others_go_on(fitted, capfd, tmp_path):
    scan, folder = fitted
    ball = trimesh.creation.icosphere(4, 100)
    write(tmp_path / "scans" / "ball.obj", ball.vertices, ball.faces)
    (tmp_path / "scans" / "person.ply").write_bytes(scan.read_bytes())
    (tmp_path / "scans" / "text.stl").write_text("no mesh")
    code, out, _ = run(capfd, tmp_path / "scans", folder.parent, "--json")
    rows = {Path(row["scan"]).name: row for row in json.loads(out)["scans"]}
    assert code == 1
    assert rows["person.ply"]["state"] == "already there"
    assert "no face from any side" in rows["ball.obj"]["problem"]
    assert rows["text.stl"]["state"] == "failed"
    assert not (folder.parent / "ball").exists()


def test_a_scan_without_a_face_ends_with_2_and_says_so(capfd, tmp_path):
    ball = trimesh.creation.icosphere(4, 100)
    code, out, _ = run(capfd, write(tmp_path / "ball.stl", ball.vertices, ball.faces), tmp_path / "heads")
    assert code == 2
    assert "expected a scan of a head with its face" in out
    assert not (tmp_path / "heads").exists()


def test_a_unit_that_cannot_be_is_refused(drawn, capfd, tmp_path):
    scan = write(tmp_path / "person.ply", drawn.vertices * 100, drawn.faces)
    code, out, _ = run(capfd, scan, tmp_path / "heads", "--unit", "mm")
    assert code == 2
    assert "use --unit cm" in out


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ((), "one or more scans, and then a folder"),
        (("gone.obj", "heads"), "gone.obj, which is not there"),
        (("a/x.obj", "b/x.obj", "heads"), "scans with names of their own"),
        (("empty", "heads"), "a folder of scans"),
    ],
)
def test_wrong_usage_is_named(named, problem, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/x.obj", "b/x.obj"):
        write(tmp_path / name, np.eye(3), np.array([[0, 1, 2]]))
    (tmp_path / "empty").mkdir()
    code, _, err = run(capfd, *named)
    assert code == 2
    assert problem in err


def test_scans_below_a_folder_keep_their_places(tmp_path):
    for name in ("a/x.obj", "b/x.obj"):
        write(tmp_path / "scans" / name, np.eye(3), np.array([[0, 1, 2]]))
    tasks = scan_tasks([tmp_path / "scans"], tmp_path / "out")
    assert [task.folder.relative_to(tmp_path / "out").as_posix() for task in tasks] == ["a/x", "b/x"]


def test_a_folder_with_other_files_is_not_written_into(drawn, capfd, tmp_path):
    scan = write(tmp_path / "person.ply", drawn.vertices, drawn.faces)
    (tmp_path / "heads" / "person").mkdir(parents=True)
    (tmp_path / "heads" / "person" / "thesis.txt").write_text("years of work")
    code, out, _ = run(capfd, scan, tmp_path / "heads")
    assert code == 2
    assert "other files" in out
    assert [file.name for file in (tmp_path / "heads" / "person").iterdir()] == ["thesis.txt"]


def test_millions_of_triangles_and_clutter_behind_the_head(drawn, tmp_path):
    """Three heads' worth of subdivision, a wall and a second shell inside: the same head comes out."""
    from flame_fitting.landmarks.landmarker import FaceLandmarker
    from geometry.scans import Scan
    from workflows.scan_registration import ScanConfig, register_scan

    fine = trimesh.Trimesh(drawn.vertices, drawn.faces, process=False)
    for _ in range(3):
        fine = fine.subdivide()
    wall = trimesh.creation.box((0.8, 0.8, 0.01)).subdivide().subdivide()
    wall.apply_translation([0, 0.1, -0.25])
    inner = trimesh.Trimesh((fine.vertices - [0, 0.12, 0.05]) * 0.9 + [0, 0.12, 0.05], fine.faces, process=False)
    parts = [fine, wall, inner]
    starts = np.cumsum([0] + [len(part.vertices) for part in parts])
    scan = Scan(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=False)]),
    )
    assert len(scan.faces) > 2_000_000
    done = register_scan(scan, load_head(), FaceLandmarker.load(), ScanConfig())
    face = load_head().model.region("face").numpy()
    off = point_to_mesh_distance(done.vertices_scan[face], drawn.truth, load_head().model.faces.numpy()).distance
    print(f"{1e3 * np.median(off):.3f} mm")
    assert done.repairs.triangles_thinned > 1_000_000
    assert np.median(off) < 2e-4


def test_a_real_textured_scan(real_data, capfd, tmp_path):
    """james, textured, in millimetres; figures beside his own annotation are `mien bench fit-scan`'s."""
    code, out, _ = run(capfd, real_data / "meshes/menpo3d/james.obj", tmp_path / "heads", "--json")
    row = json.loads(out)["scans"][0]
    assert code == 0
    assert row["unit"]["name"] == "mm"
    assert row["scan_to_mesh_mm_median"] < 0.26
    assert row["mesh_to_scan_mm_median"] < 0.26
    assert row["flipped"] == row["crossing"] == 0


def test_a_real_scan_with_shut_eyes_and_no_unit(real_data, capfd, tmp_path):
    """Lee Perry-Smith: Draco, no colours, shoulders, a unit of some 5 cm, and lids that must touch without crossing."""
    pytest.importorskip("DracoPy")
    scan = real_data / "meshes/lee-perry-smith/LeePerrySmith_draco.glb"
    code, out, _ = run(capfd, scan, tmp_path / "heads", "--json")
    row = json.loads(out)["scans"][0]
    vertices = trimesh.load_mesh(tmp_path / "heads/LeePerrySmith_draco" / HEAD_PLY, process=False).vertices
    lids = load_head().contours
    gaps = [
        vertices[pairs[:, 0], 1] - vertices[pairs[:, 1], 1] for pairs in (lids.lid_pairs_left, lids.lid_pairs_right)
    ]
    assert code == 0
    assert row["unit"]["name"] == "unknown"
    assert 0.05 < row["unit"]["metres"] < 0.06
    assert row["scan_to_mesh_mm_median"] < 0.26
    assert row["flipped"] == row["crossing"] == 0
    assert max(float(np.median(gap)) for gap in gaps) < 1e-3
