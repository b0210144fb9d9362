"""Pictures to a film that browsers play: VP9 in WebM, frame by frame, the same bytes for the same pictures.

VP9 and WebM are free to use everywhere, libvpx is under a BSD licence and every current browser plays them. H.264 would
be written by x264, which is under the GPL and whose format is under patents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from jaxtyping import UInt8

from geometry.errors import InputError

CODEC = "libvpx-vp9"
LEAST_RATE_HZ, MOST_RATE_HZ = 1, 120
QUALITY = {"deadline": "good", "cpu-used": "5", "crf": "33", "b": "0", "g": "30"}
"""Constant quality; a key frame at least every 30 frames, so that one can step and jump."""


def write_film(
    path: Path, pictures: Iterable[UInt8[np.ndarray, "h w 3"]], rate_hz: float, tags: Mapping[str, str]
) -> int:
    """Write pictures (sRGB, all of one even size) as a WebM film; the number of its frames.

    One picture is in memory at a time, and the file is there whole or not at all. One thread encodes, so that the bytes
    do not depend on the machine's cores. Raises InputError when there is no picture, or the file cannot be written.
    """
    part, count = path.with_name(f".{path.name}.part"), 0
    rate = Fraction(round(min(max(rate_hz, LEAST_RATE_HZ), MOST_RATE_HZ) * 100), 100)
    try:
        # "bitexact": without a random segment id and the library's version.
        with av.open(str(part), "w", format="webm", options={"fflags": "+bitexact"}) as container:
            container.metadata.update(tags)
            stream = container.add_stream(CODEC, rate=rate, options={**QUALITY, "flags": "+bitexact"})
            stream.thread_count = 1
            stream.pix_fmt = "yuv420p"
            for count, picture in enumerate(pictures, 1):
                if count == 1:
                    stream.height, stream.width = picture.shape[:2]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
                frame.pts = count - 1
                container.mux(stream.encode(frame))
            if count:
                container.mux(stream.encode())
        if not count:
            raise InputError("a film of at least one frame", "no frame", "write no film of an empty take")
        part.replace(path)
    except (FFmpegError, OSError) as error:
        raise InputError(f"room to write {path}", str(error), "free some space and run the command again") from error
    finally:
        part.unlink(missing_ok=True)
    return count
