"""Grey pictures for measuring: one size and range, whatever the camera's kind."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

LARGEST_SIDE = 1280
"""Larger pictures are halved, so that memory and time stay bounded whatever the cameras."""


def small_grey(frame: Shaped[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "y x"]:
    """Grey levels of a colour or a 16-bit picture, halved until no side is longer than LARGEST_SIDE."""
    if frame.ndim == 3:
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    elif frame.dtype == np.uint8:
        grey = frame
    else:
        # Active brightness spans decades: the square root gives its noise, which is shot noise, one size.
        grey = np.sqrt(frame.astype(np.float32)).clip(0, 255).astype(np.uint8)
    while max(grey.shape) > LARGEST_SIDE:
        grey = cv2.resize(grey, (grey.shape[1] // 2, grey.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(grey)
