"""What every reader returns: a recording as its files are, before any of it becomes a take."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from geometry.rigs import Rig


@dataclass(frozen=True, eq=False)
class StreamClock:
    """When the frames of one camera were taken, as the recorder says, uncorrected; one entry per frame."""

    device_ns: Int64[np.ndarray, "t"]
    """The device's own clock, nanoseconds; 0 where a single picture does not say."""
    host_ns: Int64[np.ndarray, "t"] | None = None
    """Arrival at the recording computer, nanoseconds, or None if it was not recorded."""
    frame_counter: Int64[np.ndarray, "t"] | None = None
    """The device's frame number, or None if it was not recorded; a gap is a dropped frame."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording as its files are, read lazily."""

    address: str
    """Absolute path of what was read."""
    reader: str
    """Name of the reader in `capture.readers.READERS`."""
    rig: Rig
    """Every camera as the recording calibrates it."""
    clocks: Mapping[str, StreamClock]
    """By camera id, one for each camera of the rig."""
    read_frame: Callable[[str, int], np.ndarray]
    """Camera id and frame index to uint8 (h w 3) sRGB or uint16 (h w) depth counts, 0 = none.

    Keeps no file open and pickles, so that other processes can read. Raises InputError that names the file when it
    does not decode, and for an unknown camera or index.
    """
    source_files: tuple[Path, ...]
    """Every file that the recording consists of, for its digest."""
    subject_id: str = ""
    """Who was recorded; empty if the recording does not say."""
    licence: str = ""
    """Terms of use; empty if the recording does not say."""
    consent: str = ""
    """What the subject agreed to; empty if the recording does not say."""
    notes: tuple[str, ...] = ()
    """What a user should know about these data, such as "disparity filtered by the phone"."""
