"""Two sensors with times of their own, an accelerometer and a gyroscope, as one inertial track."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64

TOGETHER = slice(0, 3), slice(3, 6)
"""Columns of acceleration and angular rate, as in `capture.readers.recording.ImuTrack`."""


def merged_inertial(
    acceleration_ns: Int64[np.ndarray, "a"],
    acceleration: Float[np.ndarray, "a 3"],
    rotation_ns: Int64[np.ndarray, "g"],
    rotation: Float[np.ndarray, "g 3"],
) -> tuple[Int64[np.ndarray, "sample"], Float[np.ndarray, "sample 7"]]:
    """Times in order and an `ImuTrack`'s values: one sample for readings of the same time, NaN where there is none.

    Nothing is resampled, and nothing is left out: readings that repeat a time stay as often as they were recorded.
    Temperature is NaN.
    """
    by_sensor = []
    for time_ns, values in ((acceleration_ns, acceleration), (rotation_ns, rotation)):
        order = np.argsort(time_ns, kind="stable")
        time_ns, values = time_ns[order], values[order]
        # The k-th reading of a time is paired with the other sensor's k-th reading of that time.
        repeat = np.arange(len(time_ns)) - np.searchsorted(time_ns, time_ns)
        by_sensor.append((np.stack([time_ns, repeat], 1), values))
    keys = np.unique(np.concatenate([key for key, _ in by_sensor]), axis=0)
    merged = np.full((len(keys), 7), np.nan)
    for columns, (key, values) in zip(TOGETHER, by_sensor, strict=True):
        merged[_positions(keys, key), columns] = values
    return np.ascontiguousarray(keys[:, 0]), merged


def _positions(keys: Int64[np.ndarray, "k 2"], wanted: Int64[np.ndarray, "n 2"]) -> Int64[np.ndarray, "n"]:
    """Where each of the wanted rows stands among the sorted keys, all of which are there."""
    first = np.searchsorted(keys[:, 0], wanted[:, 0])
    # Repeats of one time are numbered from 0 and so lie in a row.
    return first + wanted[:, 1]
