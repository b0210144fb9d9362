"""Named regions of the default head, derived from its geometry, skinning and texture islands."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int


def paint_regions(
    template: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    islands: Int[np.ndarray, "f"],
    joints: Float[np.ndarray, "j 3"],
    skinning: Float[np.ndarray, "v j"],
) -> dict[str, Bool[np.ndarray, "v"]]:
    """Vertex masks by name; `skin` is the outside, `face` the part of it between brow, ears and chin.

    Joints come as neck, head, jaw, left eye, right eye; island 0 is the skin.
    """
    outside = [
        island for island in range(islands.max() + 1) if island == 0 or _is_collar(template, faces[islands == island])
    ]
    skin = _vertices_of(faces[np.isin(islands, outside)], len(template))
    inside = _vertices_of(faces[~np.isin(islands, outside)], len(template))
    eyes = (skinning[:, 3] + skinning[:, 4] > 0.5) & ~skin
    eye_height, eye_front = joints[3:, 1].mean(), joints[3:, 2].mean()
    chin_height = _chin_height(template, skin)
    head_height = eye_height - chin_height
    sideways, height, forward = template.T
    neck = skin & (skinning[:, 0] > 0.3)
    # The ears begin 0.6 of the eye-to-chin distance behind the eyes; the hairline lies as far above the eyes.
    behind = forward < eye_front - 0.55 * head_height
    above = height > eye_height + 0.62 * head_height - 0.2 * np.maximum(np.abs(sideways) - 0.03, 0)
    under = height < chin_height - 0.004 + 0.45 * np.maximum(eye_front - 0.012 - forward, 0)
    face = skin & ~neck & ~behind & ~above & ~under
    ears = skin & behind & (np.abs(sideways) > 0.83 * np.abs(sideways).max()) & ~neck
    return {
        "face": face,
        "skin": skin,
        "eyes": eyes,
        "mouth_interior": inside & ~eyes & ~skin,
        "neck": neck,
        "scalp": skin & ~neck & ~face & ~ears & (height > chin_height + 0.4 * head_height),
        "ears": ears,
    }


def _is_collar(template: np.ndarray, faces: np.ndarray) -> bool:
    """Whether an island is the strip of throat at the model's lower edge, which Anny lays out apart from the head."""
    heights = template[np.unique(faces), 1]
    return bool(heights.min() < 0.005 and heights.max() < 0.09)


def _vertices_of(faces: np.ndarray, count: int) -> np.ndarray:
    mask = np.zeros(count, bool)
    mask[np.unique(faces)] = True
    return mask


def _chin_height(template: np.ndarray, skin: np.ndarray) -> float:
    """Height of the lowest point of the chin: where the midline's profile turns back to the neck."""
    midline = skin & (np.abs(template[:, 0]) < 0.006)
    profile = template[midline]
    front = profile[profile[:, 2] > profile[:, 2].max() - 0.045]
    return float(front[:, 1].min())
