"""Find where the default head's lips and lids meet, from its geometry and its own ARKit shapes.

    .venv/bin/python tools/make_head_contours.py [--pictures FOLDER]

A rim is what the rasterizer sees beside a hole: lid margins beside the eyeball of the open eye, inner lips beside the
dark of an open mouth. Pairs are rim vertices that lie together when the gap is closed. Writes
`flame_fitting/models/anny_contours.json`, which is committed; `--pictures` draws what was found, to be looked at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from flame_fitting.models.anny import RawAnny
from rendering.arrays import interpolate_arrays, rasterize_arrays

TARGET = Path("flame_fitting/models/anny_contours.json")
PIXEL_M, NEAR_M = 5e-5, 4e-4
"""Rims are looked for in pixels of 0.05 mm; a vertex on one lies within 0.4 mm of its edge."""
PUPIL_RING = 8
"""The default head's eyeballs end in a ring of so many vertices."""
MOUTH_OPEN = 0.25
"""jawOpen at which the inner lips are looked at: enough to part them, too little to roll them outwards."""
MOUTH_DEPTH_M = 0.018
"""What lies so far behind the lips' foremost point is the mouth's inside."""
PAIR_M = 0.0022
"""Vertices of a pair lie no farther apart than this where the gap is closed."""


class Head:
    """The raw template, its curves and its parts."""

    def __init__(self, raw: RawAnny) -> None:
        self.template, self.faces, self.shapes = raw.template, raw.faces, raw.expressions
        self.names = list(raw.expression_names)
        links = np.concatenate([raw.faces[:, [0, 1]], raw.faces[:, [1, 2]]])
        count = len(raw.template)
        graph = coo_matrix((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
        part = connected_components(graph, directed=False)[1]
        self.skin = part == np.bincount(part).argmax()
        distance = [np.linalg.norm(self.template - joint, axis=1) for joint in raw.joints[3:]]
        balls = [np.flatnonzero(part == part[np.where(self.skin, np.inf, gap).argmin()]) for gap in distance]
        self.eyeballs = (balls[0], balls[1])

    def with_curve(self, name: str, value: float) -> np.ndarray:
        """Vertices with one curve on."""
        return self.template + value * self.shapes[self.names.index(name)]


def main() -> None:
    """Find, draw and write."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=Path)
    chosen = arguments.parse_args()
    head = Head(RawAnny())
    mirror = np.asarray(KDTree(head.template).query(head.template * [-1, 1, 1])[1])
    lips = _lip_pairs(head, mirror)
    lids, contact = _lid_pairs(head)
    lids_right = mirror[lids]
    foremost = head.eyeballs[0][np.argsort(-head.template[head.eyeballs[0], 2], kind="stable")]
    ring = np.sort(foremost[:PUPIL_RING])
    rest_lips = head.template[lips[:, 0], 1] - head.template[lips[:, 1], 1]
    touching = head.with_curve("eyeBlinkLeft", contact)
    rest_lids = touching[lids[:, 0], 1] - touching[lids[:, 1], 1]
    stored = {
        "lip_pairs": lips.tolist(),
        "lid_pairs_left": lids.tolist(),
        "lid_pairs_right": lids_right.tolist(),
        "lip_rest_m": rest_lips.round(6).tolist(),
        "lid_rest_m": rest_lids.round(6).tolist(),
        "lid_contact": round(contact, 3),
        "pupils": [ring.tolist(), mirror[ring].tolist()],
        "eyeballs": [ball.tolist() for ball in head.eyeballs],
        "mirror": mirror.tolist(),
    }
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in stored.items())
    TARGET.write_text("{" + lines + "}\n")
    print(f"{len(lips)} lip pairs, {len(lids)} lid pairs an eye that touch at eyeBlink {contact:.2f}")
    print("lids at contact, mm:", (rest_lids * 1000).round(2).tolist())
    print("lips at rest, mm:", (rest_lips * 1000).round(2).tolist())
    if chosen.pictures:
        chosen.pictures.mkdir(parents=True, exist_ok=True)
        _draw(head, chosen.pictures, lips, np.concatenate([lids, lids_right]))


def _lip_pairs(head: Head, mirror: np.ndarray) -> np.ndarray:
    """Pairs of the left half and of the middle, and their mirror images, by rising x."""
    opened = head.with_curve("jawOpen", MOUTH_OPEN)
    middle = np.array([0.0, 0.075])
    lips_front = head.template[np.linalg.norm(head.template[:, :2] - middle, axis=1) < 0.02, 2].max()

    def is_mouth(face_index: np.ndarray, depth: np.ndarray) -> np.ndarray:
        return depth > (1 - lips_front) + MOUTH_DEPTH_M

    rim = _rim(head, opened, (middle, 0.027), is_mouth)
    rim = rim[np.abs(head.template[rim, 1] - middle[1]) < 0.006]
    jaw = head.shapes[head.names.index("jawOpen")][rim, 1]
    half = head.template[rim, 0] > -1e-5
    upper, lower = rim[half & (jaw > jaw.min() / 2)], rim[half & (jaw <= jaw.min() / 2)]
    pairs = _paired(head.template, upper, lower)
    centre = np.abs(head.template[pairs[:, 0], 0]) < 1e-5
    both = np.concatenate([mirror[pairs[~centre]], pairs])
    return both[np.argsort(head.template[both, 0].mean(1))]


def _lid_pairs(head: Head) -> tuple[np.ndarray, float]:
    """Pairs of the left eye by rising x, and the eyeBlink at which its margins are nearest."""
    ball = np.zeros(len(head.template), bool)
    ball[head.eyeballs[0]] = True

    def is_eyeball(face_index: np.ndarray, depth: np.ndarray) -> np.ndarray:
        return (face_index >= 0) & ball[head.faces[face_index, 0]]

    centre = head.template[head.eyeballs[0]].mean(0)[:2]
    rim = _rim(head, head.template, (centre, 0.024), is_eyeball)
    blink = head.shapes[head.names.index("eyeBlinkLeft")][rim, 1]
    upper, lower = rim[blink < -0.002], rim[blink >= -0.002]

    def gap(value: float) -> float:
        closed = head.with_curve("eyeBlinkLeft", value)
        return float(KDTree(closed[lower, :2]).query(closed[upper, :2])[0].mean())

    values = np.linspace(0.4, 1.0, 61)
    contact = float(values[np.argmin([gap(value) for value in values])])
    return _paired(head.with_curve("eyeBlinkLeft", contact), upper, lower), contact


def _rim(head: Head, vertices: np.ndarray, window: tuple[np.ndarray, float], is_hole) -> np.ndarray:  # noqa: ANN001
    """Skin vertices on the edge of a hole, seen from the front in a window (middle x and y, half its size)."""
    (x, y), half = window
    size = int(2 * half / PIXEL_M)
    screen = (
        np.stack([vertices[:, 0] - x + half, y + half - vertices[:, 1], PIXEL_M * (1 - vertices[:, 2])], 1) / PIXEL_M
    )
    fragments = rasterize_arrays(screen, head.faces, (size, size))
    hole = is_hole(fragments.face_index, np.where(fragments.mask, fragments.depth, np.inf)) & fragments.mask
    beside = np.zeros_like(hole)
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        beside |= np.roll(hole, step, axis)
    row, column = np.nonzero(beside & ~hole & fragments.mask)
    corners = head.faces[fragments.face_index[row, column]]
    pixels = np.stack([column, row], 1)[:, None] + 0.5
    distance = np.linalg.norm(screen[corners][:, :, :2] - pixels, axis=2)
    nearest = corners[np.arange(len(corners)), distance.argmin(1)]
    rim = np.unique(nearest[distance.min(1) * PIXEL_M < NEAR_M])
    return rim[head.skin[rim]]


def _paired(closed: np.ndarray, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """One to one, nearest first in the closed state, at most PAIR_M apart; by rising x."""
    gap = np.linalg.norm(closed[upper][:, None, :2] - closed[lower][None, :, :2], axis=2)
    pairs: list[tuple[int, int]] = []
    for place in np.argsort(gap, axis=None):
        first, second = np.unravel_index(place, gap.shape)
        pair = (int(upper[first]), int(lower[second]))
        x = closed[list(pair), 0].mean()
        if gap[first, second] > PAIR_M:
            break
        apart = all(abs(closed[list(other), 0].mean() - x) > 0.0012 for other in pairs)
        if apart and all(pair[0] != other[0] and pair[1] != other[1] for other in pairs):
            pairs.append(pair)
    found = np.array(pairs)
    return found[np.argsort(closed[found, 0].mean(1))]


def _draw(head: Head, folder: Path, lips: np.ndarray, lids: np.ndarray) -> None:
    """Open and closed mouth and eyes, upper vertices red, lower ones yellow."""
    looks = {
        "lips": [
            (np.array([0, 0.08]), 0.03, head.template),
            (np.array([0, 0.07]), 0.03, head.with_curve("jawOpen", 0.5)),
        ],
        "lids": [
            (head.template[ball].mean(0)[:2], 0.025, vertices)
            for ball in head.eyeballs
            for vertices in (
                head.template,
                head.with_curve("eyeBlinkLeft", 0.66) + head.with_curve("eyeBlinkRight", 0.66) - head.template,
            )
        ],
    }
    for name, views in looks.items():
        pairs = lips if name == "lips" else lids
        Image.fromarray(np.concatenate([_picture(head, view, pairs) for view in views], 1)).save(folder / f"{name}.png")


def _picture(head: Head, view: tuple[np.ndarray, float, np.ndarray], pairs: np.ndarray) -> np.ndarray:
    (middle, half, vertices), size = view, 500
    scale = size / (2 * half)
    screen = np.stack(
        [(vertices[:, 0] - middle[0] + half) * scale, (middle[1] + half - vertices[:, 1]) * scale, 1 - vertices[:, 2]],
        1,
    )
    fragments = rasterize_arrays(screen, head.faces, (size, size))
    corner = vertices[head.faces]
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, head.faces[:, k], np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    image = (interpolate_arrays(fragments, head.faces, normals * 0.4 + 0.5) * 255).astype(np.uint8)
    for column, colour in ((0, (255, 0, 0)), (1, (255, 255, 0))):
        for x, y in screen[pairs[:, column], :2].astype(int):
            image[max(y - 3, 0) : max(y + 4, 0), max(x - 3, 0) : max(x + 4, 0)] = colour
    return image


if __name__ == "__main__":
    main()
