"""Where the frames of a camera come from: picture files, or a video; and all cameras of a recording together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from capture.readers.picture_file import read_picture, read_picture_jpeg
from geometry.cameras import Camera
from geometry.errors import InputError


@runtime_checkable
class FrameSource(Protocol):
    """The frames of one camera; pickles and keeps no file open."""

    @property
    def frame_count(self) -> int:
        """How many there are."""
        ...

    def frames(self, frames: range) -> Iterator[np.ndarray]:
        """Frames of the range in order, all within the count; InputError that names the file if one does not decode."""
        ...

    def jpeg(self, index: int) -> bytes | None:
        """The JPEG bitstream of a frame without metadata, None if it is stored otherwise."""
        ...


@dataclass(frozen=True, eq=False)
class PictureSeries:
    """A file for each frame."""

    camera: Camera
    """Size and kind of the pictures."""
    files: tuple[Path, ...]
    """In order; some may repeat."""

    @property
    def frame_count(self) -> int:
        """As many as files."""
        return len(self.files)

    def frames(self, frames: range) -> Iterator[np.ndarray]:
        """Each picture, decoded when it is asked for."""
        for index in frames:
            yield read_picture(self.files[index], self.camera)

    def jpeg(self, index: int) -> bytes | None:
        """The file's bitstream if it is a JPEG."""
        return read_picture_jpeg(self.files[index], self.camera)


@dataclass(frozen=True, eq=False)
class CameraFrames:
    """A recording's `read_frame`, with `in_a_row` for its `read_frames` and `jpeg` for its `read_jpeg`."""

    address: str
    """What messages call the recording."""
    sources: Mapping[str, FrameSource]
    """By camera."""

    def __call__(self, camera_id: str, index: int) -> np.ndarray:
        """One frame."""
        return next(self._source(camera_id, range(index, index + 1)).frames(range(index, index + 1)))

    def in_a_row(self, camera_id: str, frames: range) -> Iterator[np.ndarray]:
        """Consecutive frames, in order."""
        yield from self._source(camera_id, frames).frames(frames)

    def jpeg(self, camera_id: str, index: int) -> bytes | None:
        """The bitstream of a frame that is stored as a JPEG."""
        return self._source(camera_id, range(index, index + 1)).jpeg(index)

    def _source(self, camera_id: str, frames: range) -> FrameSource:
        if camera_id not in self.sources:
            expected = f"a camera of {self.address} ({', '.join(self.sources)})"
            raise InputError(expected, repr(camera_id), "correct the camera's name")
        source = self.sources[camera_id]
        if len(frames) and not (frames[0] >= 0 and frames[-1] < source.frame_count):
            got = f"frame {frames[0] if frames[0] < 0 else frames[-1]}"
            expected = f"a frame from 0 to {source.frame_count - 1} of {camera_id}"
            raise InputError(expected, got, "choose a frame that was recorded")
        return source
