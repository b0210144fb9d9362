"""Networks as cv2 reads them."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2

_READING = threading.Lock()


def read_network(weights: Path) -> cv2.dnn.Net:
    """A TFLite network; not thread-safe itself, so that each thread reads one of its own.

    Readers take turns: OpenCV fills its table of operators while the first network is read, and a second thread at
    that moment finds operators missing. The classic engine, because the default one silently drops some outputs.
    """
    with _READING:
        return cv2.dnn.readNetFromTFLite(str(weights), cv2.dnn.ENGINE_CLASSIC)
