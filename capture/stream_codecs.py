"""Which codec a stream is stored with: the camera's own JPEGs as they are, colour by its noise, the rest by kind."""

from __future__ import annotations

from capture.readers.recording import Recording
from geometry.cameras import Camera
from storage.codecs import CODECS, codec_for

CLEAN_OR_NOISY = ("jpegxl", "residual")
"""Lossless codecs of colour; the first frame decides."""
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})


def stream_codec(recording: Recording, camera: Camera, portable: bool, lossy_colour: bool) -> str:
    """Name in `storage.codecs.CODECS`; the same for the same recording.

    Raises InputError if the first frame does not decode.
    """
    camera_jpegs = camera.kind == "rgb" and not portable and _is_all_jpeg(recording, camera.id)
    codec = codec_for(camera.kind, portable=portable, lossy_colour=lossy_colour, camera_jpegs=camera_jpegs)
    if camera.kind != "rgb" or codec != "jpegxl" or not len(recording.clocks[camera.id].device_ns):
        return codec
    # Clean pictures take a third less room as JPEG XL, and noisy ones, where it exceeds PNG, a tenth less as residuals.
    picture = recording.read_frame(camera.id, 0)[None]
    return min(CLEAN_OR_NOISY, key=lambda name: len(CODECS[name].encode(picture)))


def _is_all_jpeg(recording: Recording, camera_id: str) -> bool:
    """Whether every frame is a JPEG, as far as file names and the first frame tell; the ingest looks at each."""
    if recording.read_jpeg is None or not len(recording.clocks[camera_id].device_ns):
        return False
    suffixes = {path.suffix.lower() for path in recording.frame_files.get(camera_id, ())}
    return suffixes <= JPEG_SUFFIXES and recording.read_jpeg(camera_id, 0) is not None
