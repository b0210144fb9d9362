"""What every reader returns: a recording as its files are, before any of it becomes a take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

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
    trigger_id: Int64[np.ndarray, "t"] | None = None
    """The number of the trigger that released each frame, the same for all cameras; None if it was not recorded."""
    timecode_ns: Int64[np.ndarray, "t"] | None = None
    """SMPTE timecode of each frame, nanoseconds since midnight; None if it was not recorded."""


@dataclass(frozen=True, eq=False)
class AudioTrack:
    """One sound track with its clock, read lazily."""

    id: str
    """Name in the take, unique among the recording's tracks."""
    camera: str
    """The camera whose device clock the anchors are on; empty for a recorder of its own."""
    rate_hz: float
    """Nominal sampling rate."""
    sample_count: int
    """Samples per channel."""
    channel_count: int
    """Channels."""
    anchors: Int64[np.ndarray, "anchor 2"]
    """Pairs of a sample's number and its device time in nanoseconds, in order; at least one."""
    read: Callable[[int, int], Float[np.ndarray, "sample channel"]]
    """Samples from start to stop, float32 from -1 to 1. Keeps no file open and pickles."""


@dataclass(frozen=True, eq=False)
class ImuTrack:
    """What an inertial sensor recorded; short enough to be held."""

    id: str
    """Name in the take, unique among the recording's tracks."""
    camera: str
    """A camera of the same device, whose clock the times are on."""
    time_ns: Int64[np.ndarray, "sample"]
    """Device time of each sample, nanoseconds."""
    values: Float[np.ndarray, "sample 7"]
    """Acceleration x y z in m/s^2, angular rate x y z in rad/s, temperature in degrees Celsius; NaN: not given."""


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording as its files are, read lazily."""

    address: str
    """Absolute path of what was read."""
    reader: str
    """Name of the reader in `capture.readers.READERS`."""
    rig: Rig
    """Every camera as the recording calibrates it; `Camera.uncalibrated` where it does not."""
    clocks: Mapping[str, StreamClock]
    """By camera id, one for each camera of the rig."""
    read_frame: Callable[[str, int], np.ndarray]
    """Camera id and frame index to uint8 (h w 3) sRGB, or uint16 (h w): depth counts, 0 = none; infrared; lenslets.

    Keeps no file open and pickles, so that other processes can read. Raises InputError that names the file when it
    does not decode, and for an unknown camera or index.
    """
    source_files: tuple[Path, ...]
    """Every file that the recording consists of, each once, for its digest."""
    subject_id: str = ""
    """Who was recorded; empty if the recording does not say."""
    licence: str = ""
    """Terms of use; empty if the recording does not say."""
    consent: str = ""
    """What the subject agreed to; empty if the recording does not say."""
    slate: str = ""
    """Name of the scene, as on the clapperboard; empty if the recording does not say."""
    take_number: str = ""
    """Which attempt at it; empty if the recording does not say."""
    notes: tuple[str, ...] = ()
    """What a user should know about these data, such as "disparity filtered by the phone"."""
    audio: tuple[AudioTrack, ...] = ()
    """Sound tracks."""
    imu: tuple[ImuTrack, ...] = ()
    """Inertial sensors."""
    read_frames: Callable[[str, range], Iterator[np.ndarray]] | None = None
    """As `read_frame` for consecutive frames, where reading them in a row is cheaper (video); same rules."""
    read_jpeg: Callable[[str, int], bytes | None] | None = None
    """The JPEG bitstream that a frame is stored as, metadata stripped, or None for a frame that is no JPEG.

    `storage.jpeg.decode_jpeg` of it gives exactly `read_frame`'s pixels, so that a take can keep it as it is.
    """
    frame_files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """By camera, the file of each frame (some may repeat), where every frame is a file; else the camera is absent."""
    frames_per_portion: int = 0
    """Frames that one task should read in a row, where seeking is dear; 0: any number will do."""

    def frames(self, camera_id: str, frames: range) -> Iterator[np.ndarray]:
        """Consecutive frames of a camera in order, one in memory at a time."""
        if self.read_frames is not None:
            yield from self.read_frames(camera_id, frames)
        else:
            for index in frames:
                yield self.read_frame(camera_id, index)
