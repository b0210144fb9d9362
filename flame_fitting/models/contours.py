"""Where a head model's lips and lids meet, where its eyes look from, and which vertex mirrors which."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geometry.errors import InputError


@dataclass(frozen=True, eq=False)
class HeadContours:
    """Vertices of one topology that losses and reports need by name; left is the subject's left (+x)."""

    lip_pairs: Int[Tensor, "n 2"]
    """Upper and lower vertex of the inner lips that meet when the mouth closes, from the subject's right to left."""
    lid_pairs_left: Int[Tensor, "l 2"]
    """Upper and lower vertex of the left eye's lid margins that meet when the eye closes, by rising x."""
    lid_pairs_right: Int[Tensor, "r 2"]
    """The same of the right eye: mirror images of the left's, in the left's order."""
    lip_rest_m: Float[Tensor, "n"]
    """`opening` of each lip pair where lips touch (vertices sit beside the line of contact), metres."""
    lid_rest_m: Float[Tensor, "l"]
    """`opening` of each lid pair, of either eye, where the margins touch, metres."""
    lid_contact: float
    """The eyeBlink at which the margins touch; above it the upper lid goes on over the lower one."""
    pupils: Int[Tensor, "2 p"]
    """The ring of vertices about the pupil of the left and of the right eye; a pupil's centre is its ring's mean."""
    eyeballs: tuple[Int[Tensor, "a"], Int[Tensor, "b"]]
    """Vertices of the left and of the right eyeball."""
    mirror: Int[Tensor, "v"]
    """The vertex nearest to each one's mirror image in the plane x = 0 of the symmetric template."""

    def lip_opening(self, vertices: Float[Tensor, "*b v 3"]) -> Float[Tensor, "*b n"]:
        """How far each lip pair is open, metres along the head's y; 0 is contact, negative is pressed.

        Vertices are in the head's frame.
        """
        return opening(vertices, self.lip_pairs) - self.lip_rest_m.to(vertices)

    def lid_opening(self, vertices: Float[Tensor, "*b v 3"]) -> tuple[Float[Tensor, "*b l"], Float[Tensor, "*b r"]]:
        """How far the left and the right eye's lid pairs are open, metres along the head's y; 0 is contact.

        A shut eye is negative (the upper lid overlaps): closure is an inequality, not a distance to bring to zero.
        """
        rest = self.lid_rest_m.to(vertices)
        return opening(vertices, self.lid_pairs_left) - rest, opening(vertices, self.lid_pairs_right) - rest


def opening(vertices: Float[Tensor, "*b v 3"], pairs: Int[Tensor, "n 2"]) -> Float[Tensor, "*b n"]:
    """Height of each pair's first vertex over its second one along the head's y, metres; linear in the vertices."""
    pairs = pairs.to(vertices.device)
    return vertices[..., pairs[:, 0], 1] - vertices[..., pairs[:, 1], 1]


def symmetric_curves(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Rows of the curves that are one another's mirror image: (jawLeft, jawRight), (eyeBlinkLeft, eyeBlinkRight)."""
    rows = {name: row for row, name in enumerate(names)}
    pairs = []
    for name, row in rows.items():
        twin = rows.get(name.removesuffix("Left") + "Right") if name.endswith("Left") else None
        if twin is not None:
            pairs.append((row, twin))
    return tuple(pairs)


def mirrored_curve_rows(names: tuple[str, ...]) -> tuple[int, ...]:
    """For each curve the row of its mirror image; curves of the middle (jawOpen, mouthPucker) are their own."""
    rows = list(range(len(names)))
    for left, right in symmetric_curves(names):
        rows[left], rows[right] = right, left
    return tuple(rows)


def load_contours(name: str = "anny") -> HeadContours:
    """The committed contours of a model that mien brings; made by `tools/make_head_contours.py`."""
    path = Path(__file__).parent / f"{name}_contours.json"
    if not path.is_file():
        raise InputError("a head model that has contours (anny)", repr(name), "name a model that mien brings")
    return contours_from_lists(json.loads(path.read_text()))


def contours_from_lists(stored: dict[str, Any]) -> HeadContours:
    """Contours from plain lists and numbers, keyed by field names."""
    values: dict[str, Any] = {}
    for field in fields(HeadContours):
        value = stored[field.name]
        if field.name == "eyeballs":
            values[field.name] = tuple(torch.tensor(ball, dtype=torch.int64) for ball in value)
        elif field.name == "lid_contact":
            values[field.name] = float(value)
        else:
            dtype = torch.float64 if field.name.endswith("_m") else torch.int64
            values[field.name] = torch.tensor(value, dtype=dtype)
    return HeadContours(**values)
