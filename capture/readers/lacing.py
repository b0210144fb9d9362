"""Several frames in one Matroska block, as `k4arecord` writes inertial samples. Source: RFC 9559, section 10.3."""

from __future__ import annotations

from capture.readers.ebml import Cut, vint

XIPH, EQUAL, EBML = 1, 2, 3
"""What a block's flags say of how its frames' sizes are written; 0: it is a single frame."""


def laced_frames(data: bytes, lacing: int) -> tuple[bytes, ...]:
    """The frames of a block with several; ValueError if they do not fill it."""
    if lacing == 0:
        return (data,)
    if not data:
        raise ValueError("an empty block")
    count, at = data[0] + 1, 1
    try:
        sizes, at = _lace_sizes(data, at, count, lacing)
    except (IndexError, Cut) as error:
        raise ValueError("a block that ends within its list of sizes") from error
    last = len(data) - at - sum(sizes)
    if last < 0 or min(sizes, default=0) < 0:
        raise ValueError("frames that do not fill their block")
    frames = []
    for size in (*sizes, last):
        frames.append(data[at : at + size])
        at += size
    return tuple(frames)


def _lace_sizes(data: bytes, at: int, count: int, lacing: int) -> tuple[list[int], int]:
    """Sizes of all frames but the last, and where the first frame starts."""
    if lacing == EQUAL:
        size, rest = divmod(len(data) - at, count)
        if rest:
            raise ValueError("frames of unequal size")
        return [size] * (count - 1), at
    sizes: list[int] = []
    for index in range(count - 1):
        if lacing == XIPH:
            size = 0
            while data[at] == 255:
                size, at = size + 255, at + 1
            sizes.append(size + data[at])
            at += 1
            continue
        start = at
        value, at = vint(data, at, 8, keep_marker=False)
        # Sizes after the first are differences, their range centred on 0.
        sizes.append(value if index == 0 else sizes[-1] + value - ((1 << 7 * (at - start) - 1) - 1))
    return sizes, at
