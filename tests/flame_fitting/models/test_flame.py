"""FLAME from a file in its exact format: the published equations, refusals, and a head that the linear fit can use."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from flame_fitting.models.arkit_solve import solve_arkit
from flame_fitting.models.contours import mirrored_curve_rows
from flame_fitting.models.flame import LICENCES, Flame, read_flame
from flame_fitting.models.flame_head import arkit_from_flame, flame_head, frame_origin
from flame_fitting.models.flame_parameters import flame_parameters
from flame_fitting.models.plain_model import Head
from flame_fitting.models.registry import load_head, load_head_contours, load_head_model, load_landmark_embedding
from geometry.errors import InputError
from tests.flame_fitting.models.synthetic_flame import Python2Pickle, SyntheticFlame, synthetic_flame

STANDS_IN = "2023-open"
POSES = ("global_orient", "neck_pose", "jaw_pose", "leye_pose", "reye_pose")


@pytest.fixture(scope="module")
def made() -> SyntheticFlame:
    return synthetic_flame()


@pytest.fixture(scope="module")
def file(made: SyntheticFlame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "flame2023_Open.pkl"
    path.write_bytes(Python2Pickle().file(made.arrays))
    return path


@pytest.fixture(scope="module")
def flame(file: Path) -> Flame:
    return read_flame(file)


@pytest.fixture(scope="module")
def head(flame: Flame) -> Head:
    return flame_head(flame, load_head)


def published(arrays, betas: np.ndarray, expression: np.ndarray, rotvecs: np.ndarray) -> np.ndarray:
    """FLAME vertex by vertex and joint by joint, as the papers write it; shares no code with the library.

    Source: Loper et al. 2015, eqs. 2-10; Li et al. 2017, eqs. 1-5.
    """
    template, shapes = arrays["v_template"], arrays["shapedirs"]
    shaped = template.copy()
    for number, beta in enumerate(betas):
        shaped += beta * shapes[:, :, number]
    for number, psi in enumerate(expression):
        shaped += psi * shapes[:, :, 300 + number]
    joints = arrays["J_regressor"].toarray() @ shaped
    turns = [Rotation.from_rotvec(rotvec).as_matrix() for rotvec in rotvecs]
    corrected = shaped.copy()
    for joint in range(1, 5):
        for row in range(3):
            for column in range(3):
                element = 9 * (joint - 1) + 3 * row + column
                corrected += (turns[joint][row, column] - (row == column)) * arrays["posedirs"][:, :, element]
    world = []
    parents = [-1, *arrays["kintree_table"][0, 1:].astype(int).tolist()]
    for joint, parent in enumerate(parents):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    posed = np.zeros_like(corrected)
    for joint in range(5):
        from_rest = world[joint].copy()
        from_rest[:3, 3] -= from_rest[:3, :3] @ joints[joint]
        moved = corrected @ from_rest[:3, :3].T + from_rest[:3, 3]
        posed += arrays["weights"][:, joint : joint + 1] * moved
    return posed


def test_vertices_are_the_published_equations(made, flame):
    random = np.random.default_rng(1)
    betas, expression = random.normal(size=(3, 300)), random.normal(size=(3, 100))
    rotvecs, shift = random.normal(0, 0.4, (3, 5, 3)), random.normal(size=(3, 3))
    ours = flame.with_shape(torch.from_numpy(betas), torch.from_numpy(expression)).with_pose(
        torch.from_numpy(rotvecs), torch.from_numpy(shift)
    )
    for number in range(3):
        expected = published(made.arrays, betas[number], expression[number], rotvecs[number]) + shift[number]
        np.testing.assert_allclose(ours[number].numpy(), expected, atol=1e-12)


def test_rest_is_the_template_and_a_turn_of_the_root_is_rigid(made, flame):
    zero = torch.zeros(1, 1, dtype=torch.float64)
    still, nowhere = torch.zeros(1, 5, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    rest = flame.with_shape(zero, zero)
    np.testing.assert_allclose(rest.with_pose(still, nowhere)[0].numpy(), made.arrays["v_template"], atol=1e-12)
    turned = still.clone()
    turned[0, 0] = torch.tensor([0.1, 0.9, -0.3], dtype=torch.float64)
    root = rest.joints[0, 0].numpy()
    rotation = Rotation.from_rotvec([0.1, 0.9, -0.3])
    expected = rotation.apply(made.arrays["v_template"] - root) + root
    np.testing.assert_allclose(rest.with_pose(turned, nowhere)[0].numpy(), expected, atol=1e-12)


def test_every_coefficient_has_a_gradient(flame):
    random = torch.Generator().manual_seed(2)
    values = [torch.randn(1, n, dtype=torch.float64, generator=random) * 0.1 for n in (300, 100, 15, 3)]
    betas, expression, pose, shift = (value.requires_grad_() for value in values)
    vertices = flame.with_shape(betas, expression).with_pose(pose.unflatten(-1, (5, 3)), shift)
    (vertices * torch.randn(vertices.shape, dtype=torch.float64, generator=random)).sum().backward()
    for value in (betas, expression, pose, shift):
        assert value.grad is not None and (value.grad != 0).all()


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_of_today_and_an_npz_are_the_same_model(made, flame, tmp_path, protocol):
    pickled = tmp_path / "FLAME2020" / "generic_model.pkl"
    pickled.parent.mkdir()
    pickled.write_bytes(pickle.dumps(made.arrays, protocol=protocol))
    again = read_flame(pickled)
    assert (again.digest, again.version) == (flame.digest, "2020")
    if protocol == 5:
        arrays = {**made.arrays, "J_regressor": made.arrays["J_regressor"].toarray()}
        np.savez(tmp_path / "flame2023.npz", **arrays)
        assert read_flame(tmp_path / "flame2023.npz").digest == flame.digest


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("flame2023_Open.pkl", "2023-open"),
        ("flame2023.pkl", "2023"),
        ("FLAME2020/generic_model.pkl", "2020"),
        ("FLAME2017/male_model.pkl", "2017"),
        ("somewhere/generic_model.pkl", "unknown"),
    ],
)
def test_the_licence_follows_the_version(made, tmp_path, name, version):
    from flame_fitting.models.flame import version_from_name

    assert version_from_name(tmp_path / name) == version
    assert ("CC-BY-4.0" in LICENCES[version]) == (version == "2023-open")
    assert version == "2023-open" or "non-commercial" in LICENCES[version]


def changed(made: SyntheticFlame, tmp_path: Path, **changes) -> Path:
    arrays = {**made.arrays, "J_regressor": made.arrays["J_regressor"].toarray(), **changes}
    path = tmp_path / "flame2020.npz"
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def with_value(array: np.ndarray, value: float) -> np.ndarray:
    copy = np.array(array, np.float64)
    copy.flat[copy.size // 2] = value
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"v_template": with_value(a["v_template"], np.nan)}, r"finite numbers in v_template; got .* 1 that"),
        (lambda a: {"posedirs": with_value(a["posedirs"], np.inf)}, "finite numbers in posedirs"),
        (lambda a: {"v_template": np.zeros((6890, 3))}, r"shape \(5023, 3\); got .*\(6890, 3\), as SMPL has"),
        (lambda a: {"v_template": np.zeros((10475, 3))}, "as SMPL-X has"),
        (lambda a: {"shapedirs": a["shapedirs"][..., :150]}, r"shapedirs of shape \(5023, 3, 400\)"),
        (lambda a: {"weights": None}, "without an array of this name"),
        (lambda a: {"weights": a["weights"] * 2}, "sum to 1"),
        (lambda a: {"f": a["f"] + 10}, "between vertices 0 and 5022"),
        (lambda a: {"f": a["f"].astype(float) + 0.5}, "whole numbers in f"),
        (lambda a: {"v_template": a["v_template"] * 1000}, "a template in metres"),
        (lambda a: {"kintree_table": np.array([[0, 0, 0, 0, 0], [0, 1, 2, 3, 4]])}, "bones with parents"),
        (lambda a: {"v_template": np.array([{}], object)}, "an .npz of plain arrays"),
    ],
)
def test_a_wrong_file_is_named_with_what_was_expected(made, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read_flame(changed(made, tmp_path, **change(made.arrays)))


def test_a_missing_file_and_an_unknown_version_are_named(tmp_path, file):
    with pytest.raises(InputError, match=r"flame\.is\.tue"):
        read_flame(tmp_path / "flame2023.pkl")
    with pytest.raises(InputError, match="2023-open"):
        read_flame(file, version="2031")


def test_the_head_for_the_fit_has_flames_own_identity_and_joints(flame, head):
    model, origin = head.model, frame_origin(flame)
    assert model.licence == LICENCES[STANDS_IN] and model.name == f"flame-{STANDS_IN}-{flame.digest}"
    assert set(head.transferred) == {"expressions", "regions", "landmarks", "contours"}
    betas = torch.randn(2, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    linear = model.with_shape(betas.float())
    own = flame.with_shape(betas, torch.zeros(2, 1, dtype=torch.float64))
    torch.testing.assert_close(linear.vertices.double(), own.vertices - origin, atol=1e-6, rtol=0)
    torch.testing.assert_close(linear.joints.double(), own.joints - origin, atol=1e-6, rtol=0)


def test_transferred_parts_lie_where_the_truth_has_them(made, head):
    default = load_head()
    places = made.anny_from_vertex @ default.model.template.double().numpy()
    landmarks = head.landmarks
    found = (places[landmarks.faces.numpy()] * landmarks.barycentric.numpy()[..., None]).sum(1)
    truth = default.landmarks.on(default.model.template.double()).numpy()
    slide_mm = np.linalg.norm(found - truth, axis=1) * 1000
    assert np.median(slide_mm) < 0.8 and slide_mm.max() < 3, f"landmarks slide by {np.median(slide_mm):.2f} mm"
    for name in ("face", "eyes", "mouth_interior", "neck"):
        expected = made.anny_from_vertex @ default.model.region(name).numpy() > 0.5
        found = head.model.region(name).numpy()
        assert (found & expected).sum() / (found | expected).sum() > 0.9, name
    for ours, theirs in (("lip_pairs", 0), ("lid_pairs_left", 0), ("lid_pairs_right", 1)):
        pairs, own = getattr(head.contours, ours).numpy(), getattr(default.contours, ours).numpy()
        assert len(pairs) >= len(own) - 1
        rest = default.model.template.double().numpy()
        gap = np.linalg.norm(places[pairs[:, theirs]][:, None] - rest[own[:, theirs]], axis=2).min(1)
        assert np.median(gap) < 1e-3
    curves = torch.from_numpy(made.anny_from_vertex @ default.model.expression_basis.double().numpy() @ made.tilt.T)
    counted = (head.model.region("face") | head.model.region("eyes")).numpy()
    error = (head.model.expression_basis.double() - curves).norm(dim=2).numpy()[:, counted]
    size = curves.norm(dim=2).numpy()[:, counted]
    share = np.sqrt((error**2).mean(1) / (size**2).mean(1).clip(1e-12))
    assert np.median(share) < 0.15, f"ARKit shapes are off by {100 * np.median(share):.0f} % of their size"


def test_transferred_curves_do_on_flame_what_they_are_called(head):
    rest = head.model.with_shape(torch.zeros(1)).vertices
    names, basis = list(head.model.expression_names), head.model.expression_basis
    left, right = head.contours.lid_opening(rest + basis[names.index("eyeBlinkLeft")])
    assert left[2:-2].max() < 0 and right[2:-2].min() > 2e-3
    assert head.contours.lip_opening(rest).abs().max() < 1e-6
    assert head.contours.lip_opening(rest + 0.6 * basis[names.index("jawOpen")]).min() > 3e-3


def test_planted_curves_come_back_and_are_counted(head):
    random = np.random.default_rng(8)
    model, count = head.model, len(head.model.expression_names)
    planted = np.zeros((12, count))
    for row in planted:
        row[random.choice(count - 1, 7, replace=False)] = random.uniform(0.15, 0.9, 7)  # tongueOut: no head has one
    from flame_fitting.models.arkit_solve import symmetric_shapes

    basis = symmetric_shapes(
        model.expression_basis.double().numpy(), model.expression_names, head.contours.mirror.numpy()
    )
    neutral = model.template.double().numpy()
    solved = solve_arkit(model, neutral, neutral + np.tensordot(planted, basis, 1), head.contours)
    np.testing.assert_allclose(solved.curves, planted, atol=5e-3)
    assert solved.residual_mm.max() < 0.01
    np.testing.assert_array_equal(solved.active, 7)
    assert set(solved.report()) == {"arkit_residual_mm_median", "arkit_residual_mm_p95", "arkit_active_curves_mean"}


def test_flames_own_expressions_have_their_arkit_curves(made, flame, head):
    """Curves in FLAME's own coefficients, on its own shapes: the transfer's error is in the figures."""
    random = np.random.default_rng(9)
    names = head.model.expression_names
    moving = [row for row, name in enumerate(names) if not name.startswith(("eyeLook", "tongue"))]
    planted = np.zeros((16, 52))
    for row in planted:
        row[random.choice(moving, 6, replace=False)] = random.uniform(0.2, 0.9, 6)
    expression = torch.from_numpy(planted @ made.arkit_rows)
    solved = arkit_from_flame(
        flame, head, torch.zeros(300, dtype=torch.float64), expression, torch.zeros(16, 5, 3, dtype=torch.float64)
    )
    ratio = np.abs(solved.curves - planted).mean() / np.abs(planted).mean()
    assert ratio < 0.25, f"{ratio:.2f} of the all-zero error"
    assert np.median(solved.residual_mm) < 0.5
    assert (solved.curves >= 0).all() and (solved.curves <= 1).all()


def test_flames_jaw_and_eyes_become_curves_and_its_neck_does_not(flame, head):
    rotvecs = torch.zeros(4, 5, 3, dtype=torch.float64)
    rotvecs[0, 2, 0] = 0.25  # the jaw opens
    rotvecs[1, 3:, 0] = 0.12  # both eyes look down
    rotvecs[2, 3:, 1] = 0.15  # both look to the subject's left
    rotvecs[3, :2] = 0.4
    solved = arkit_from_flame(
        flame, head, torch.zeros(300, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64), rotvecs
    )
    curve = {name: solved.curves[:, row] for row, name in enumerate(head.model.expression_names)}
    assert curve["jawOpen"][0] > 0.3 and curve["jawOpen"][1:].max() < 0.02
    assert min(curve["eyeLookDownLeft"][1], curve["eyeLookDownRight"][1]) > 0.2
    assert curve["eyeLookOutLeft"][2] > 0.3 and curve["eyeLookInRight"][2] > 0.3
    assert curve["eyeLookInLeft"][2] < 0.1 and curve["eyeLookOutRight"][2] < 0.1
    assert solved.curves[3].max() < 1e-6


def test_a_mirrored_face_has_mirrored_curves():
    """Exact on a head that is symmetric itself: the default head's own template, made symmetric."""
    default = load_head()
    mirror = default.contours.mirror.numpy()
    flip = np.array([-1.0, 1, 1])
    template = default.model.template.double().numpy()
    neutral = 0.5 * (template + template[mirror] * flip)
    random = np.random.default_rng(10)
    moves = np.tensordot(random.uniform(0, 0.5, (5, 52)), default.model.expression_basis.double().numpy(), 1)
    meshes = neutral + moves + random.normal(0, 3e-4, moves.shape)
    image = meshes[:, mirror] * flip
    solved = solve_arkit(default.model, neutral, meshes, default.contours)
    mirrored = solve_arkit(default.model, neutral, image, default.contours)
    rows = list(mirrored_curve_rows(default.model.expression_names))
    np.testing.assert_allclose(mirrored.curves, solved.curves[:, rows], atol=1e-4)
    both = solve_arkit(default.model, neutral, 0.5 * (meshes + image), default.contours).curves
    np.testing.assert_allclose(both, both[:, rows], atol=1e-4)


def test_it_loads_by_its_path_and_from_the_cache_the_second_time(file, flame, tmp_path, monkeypatch):
    from flame_fitting.models import registry

    load_head()  # the default head is in the usual cache; the rest of this test has one of its own
    built = load_head()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    monkeypatch.setattr(registry, "load_head", lambda: built)
    registry._load_head_file.cache_clear()
    model = load_head_model(str(file))
    assert model.name == f"flame-2023-open-{flame.digest}" and len(list((tmp_path / "models").glob("*.npz"))) == 1
    registry._load_head_file.cache_clear()
    monkeypatch.setattr(registry, "flame_head", None)  # a second transfer would fail
    again = load_head_model(file)
    torch.testing.assert_close(again.expression_basis, model.expression_basis)
    assert again.licence == model.licence
    assert len(load_landmark_embedding(file).source_index) > 400
    assert len(load_head_contours(file).lip_pairs) >= 8
    registry._load_head_file.cache_clear()


def test_what_is_no_head_model_is_named(tmp_path):
    for name in ("nobody", str(tmp_path / "flame2023.pkl"), str(tmp_path)):
        with pytest.raises(InputError, match="a head model: anny, FLAME's"):
            load_head_model(name)


def test_heads_come_back_as_the_parameters_that_made_them(flame):
    """smplx's own names in, vertices, and the same out: global_orient, jaw, eyes, expression, translation."""
    random = torch.Generator().manual_seed(12)
    betas = torch.randn(300, dtype=torch.float64, generator=random) * 0.5
    expression = torch.randn(2, 100, dtype=torch.float64, generator=random) * 0.3
    expression[:, 40:] = 0
    pose = torch.randn(2, 5, 3, dtype=torch.float64, generator=random) * 0.1
    pose[:, 0] *= 8
    pose[:, 1] = 0
    shift = torch.randn(2, 3, dtype=torch.float64, generator=random)
    vertices = flame.with_shape(betas.expand(2, -1), expression).with_pose(pose, shift)
    found = flame_parameters(flame, betas, vertices)
    assert found["residual_mm"].max() < 0.05
    for joint, name in enumerate(POSES):
        np.testing.assert_allclose(found[name], pose[:, joint].numpy(), atol=0.01, err_msg=name)
    np.testing.assert_allclose(found["transl"], shift.numpy(), atol=5e-4)
    again = flame.with_shape(betas.expand(2, -1), torch.from_numpy(found["expression"])).with_pose(
        torch.stack([torch.from_numpy(found[name]) for name in POSES], 1), torch.from_numpy(found["transl"])
    )
    assert (again - vertices).norm(dim=2).max() < 5e-4
