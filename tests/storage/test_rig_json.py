"""Rigs come back as they were, and wrong rig files are refused in words."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geometry.cameras import DISTORTION_SIZES, Camera
from geometry.errors import InputError
from geometry.rigs import Rig
from storage.rig_json import read_rig, rig_from_json, rig_to_json, write_rig
from tests.storage.synthetic_take import synthetic_rig


def _assert_equal(one: Camera, other: Camera) -> None:
    for item in fields(Camera):
        a, b = getattr(one, item.name), getattr(other, item.name)
        if item.name == "world_from_camera":
            np.testing.assert_array_equal(a.matrix, b.matrix)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b and type(a) is type(b), item.name


@pytest.mark.parametrize("coefficients", DISTORTION_SIZES)
def test_a_rig_comes_back_exactly(tmp_path: Path, coefficients: int) -> None:
    rng = np.random.default_rng(coefficients)
    rig = Rig(tuple(replace(camera, distortion=rng.normal(size=coefficients)) for camera in synthetic_rig().cameras))
    write_rig(tmp_path / "rig.json", rig)
    back = read_rig(tmp_path / "rig.json")
    assert back.ids == rig.ids
    for one, other in zip(rig.cameras, back.cameras, strict=True):
        _assert_equal(one, other)


def _document() -> dict[str, Any]:
    return json.loads(json.dumps(rig_to_json(synthetic_rig())))


def test_the_document_is_plain_and_stable() -> None:
    assert rig_to_json(rig_from_json(_document())) == _document()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("id", "../up", "a name for a camera"),
        ("id", 3, "not text"),
        ("id", "depth", "more than once"),
        ("kind", "thermal", "thermal"),
        ("kind", ["rgb"], "rgb"),
        ("model", "opencv8", "5 coefficients"),
        ("image_size_hw", [12], "unpack"),
        ("image_size_hw", [12, 1e9], "whole numbers"),
        ("image_size_hw", [10**9, 20], "whole numbers"),
        ("image_size_hw", "ab", "whole numbers"),
        ("K", [[1, 0], [0, 1]], "shape"),
        ("K", [[1, 0, 0], [0, 1, 0], [0, 0, 2]], "last row"),
        ("K", [[-1, 0, 0], [0, 1, 0], [0, 0, 1]], "positive"),
        ("K", [[1, 0, "5"], [0, 1, 0], [0, 0, 1]], "other than numbers"),
        ("K", [[float("nan"), 0, 0], [0, 1, 0], [0, 0, 1]], "finite"),
        ("K", [[10**400, 0, 0], [0, 1, 0], [0, 0, 1]], "large"),
        ("K", [[1, 0], 2], "possible camera"),
        ("distortion", None, "other than numbers"),
        ("distortion", [0, 0, 0], "coefficients"),
        ("world_from_camera", np.ones((4, 4)).tolist(), "last row"),
        ("world_from_camera", (np.eye(4) * [2, 2, 2, 1]).tolist(), "rotation"),
        ("rate_hz", float("inf"), "inf"),
        ("rate_hz", True, "True"),
        ("serial", None, "not text"),
        ("reprojection_px", -1, "-1"),
    ],
)
def test_a_wrong_camera_is_named(name: str, value: object, message: str) -> None:
    document = _document()
    document["cameras"][0][name] = value
    with pytest.raises(InputError, match=message):
        rig_from_json(document, "rig.json")


def test_a_depth_camera_states_its_unit() -> None:
    document = _document()
    for unit in (None, 0):
        document["cameras"][1]["depth_unit_m"] = unit
        with pytest.raises(InputError, match="unit in metres"):
            rig_from_json(document)


@pytest.mark.parametrize(
    "change", [{"version": 99}, {"format": "x"}, {"cameras": []}, {"cameras": {}}, {"cameras": [3]}]
)
def test_another_document_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        rig_from_json(_document() | change)


def test_every_value_is_needed() -> None:
    for name in _document()["cameras"][0]:
        document = _document()
        del document["cameras"][0][name]
        with pytest.raises(InputError, match=f"no '{name}'"):
            rig_from_json(document)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_rig(tmp_path / "rig.json")
    for content in (b"", b"[1]", b"\xff", b"{"):
        (tmp_path / "rig.json").write_bytes(content)
        with pytest.raises(InputError, match=r"rig\.json"):
            read_rig(tmp_path / "rig.json")
