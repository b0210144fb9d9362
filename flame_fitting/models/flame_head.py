"""FLAME as a linear head: its own identity space with ARKit's 52 curves, transferred from the default head.

FLAME's own expression space hardly closes an eye, so the ARKit shapes are not projected into it: a curve moves FLAME's
template as it moves the default head. For what FLAME's own coefficients mean in ARKit's words there is `arkit_solve`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from flame_fitting.models.arkit_solve import ArkitSolution, solve_arkit
from flame_fitting.models.flame import JOINTS, Flame
from flame_fitting.models.plain_model import Head, head_from_arrays

HEAD_FROM_FLAME = {"neck": "root", "head": "neck", "jaw": "jaw", "eye_left": "eye_left", "eye_right": "eye_right"}
"""FLAME's root is our neck joint, at the neck's base; FLAME's neck is our head joint, under the skull."""


def flame_head(flame: Flame, default: Callable[[], Head]) -> Head:
    """A head that the linear fit can use; identity coefficients are FLAME's own betas, in standard deviations.

    Expressions, regions, landmarks and contours are transferred; skinning and joints are FLAME's. The head's frame
    begins at FLAME's root joint: add `frame_origin` to come back to FLAME's own frame.
    """
    order = [JOINTS.index(name) for name in HEAD_FROM_FLAME.values()]
    regressed = flame.joint_regressor @ flame.template
    arrays = {
        "name": np.array(f"flame-{flame.version}-{flame.digest}"),
        "licence": np.array(flame.licence),
        "template": flame.template.numpy(),
        "faces": flame.faces.numpy(),
        "identity_basis": flame.shape_basis.numpy(),
        "joints": regressed.numpy()[order],
        "joint_basis": (flame.joint_regressor @ flame.shape_basis).numpy()[:, order],
        "joint_names": np.array(list(HEAD_FROM_FLAME)),
        "skinning": flame.skinning.numpy()[:, order],
    }
    return head_from_arrays(arrays, default, f"FLAME {flame.version}")


def frame_origin(flame: Flame) -> Float[Tensor, "3"]:
    """Where the head's frame begins in FLAME's own frame, metres: vertices_flame = vertices_head + origin."""
    return flame.joint_regressor[0] @ flame.template


def arkit_from_flame(
    flame: Flame,
    head: Head,
    identity: Float[Tensor, "k"],
    expression: Float[Tensor, "t e"],
    rotvecs: Float[Tensor, "t 5 3"],
) -> ArkitSolution:
    """ARKit curves of FLAME coefficients, by the bounded solve on the meshes that they make.

    Global and neck rotation (the first two of `rotvecs`) are no expression and are left out; jaw and eyes count.
    """
    posed = rotvecs.clone()
    posed[:, :2] = 0
    origin = frame_origin(flame)
    none = torch.zeros(len(expression), 3).to(posed)
    rest = flame.with_shape(identity[None], torch.zeros(1, 1).to(identity))
    neutral = rest.with_pose(torch.zeros(1, 5, 3).to(posed), torch.zeros(1, 3).to(posed))[0] - origin
    shaped = flame.with_shape(identity.expand(len(expression), -1), expression)
    meshes = shaped.with_pose(posed, none) - origin
    # Expressions move the regressed joints a little, and FLAME turns about them: the root's shift is no expression.
    return solve_arkit(head.model, neutral.numpy(), meshes.numpy(), head.contours)
