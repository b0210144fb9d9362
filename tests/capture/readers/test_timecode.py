"""Timecode labels, counted on from the first."""

from fractions import Fraction

import pytest

from capture.readers.timecode import timecodes_ns

NTSC = Fraction(30_000, 1001)


def _label(nanoseconds: int, counting: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    frame = round(rest * counting / 1e9)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}"


@pytest.mark.parametrize(
    ("start", "rate_hz", "number", "label"),
    [
        ("01:00:00:00", Fraction(25), 0, "01:00:00:00"),
        ("01:00:00:00", Fraction(25), 25 * 61 + 3, "01:01:01:03"),
        ("23:59:59:24", Fraction(25), 1, "00:00:00:00"),
        ("00:00:59:29", NTSC, 1, "00:01:00:00"),
        ("00:00:59;29", NTSC, 1, "00:01:00:02"),
        ("00:09:59;29", NTSC, 1, "00:10:00:00"),
        ("00:00:00;00", NTSC, 17_982, "00:10:00:00"),
        ("00:00:00;00", NTSC, 107_892, "01:00:00:00"),
        ("00:00:59;59", Fraction(60_000, 1001), 1, "00:01:00:04"),
    ],
)
def test_labels_count_as_the_standard_says(start: str, rate_hz: Fraction, number: int, label: str) -> None:
    found = timecodes_ns(start, rate_hz, [number])
    assert found is not None and _label(int(found[0]), round(rate_hz)) == label


def test_no_drop_frame_label_is_one_that_is_left_out_and_none_comes_twice() -> None:
    found = timecodes_ns("00:00:00;00", NTSC, range(40_000))
    assert found is not None and (found[1:] > found[:-1]).all()
    labels = {_label(int(value), 30) for value in found[::1]}
    assert len(labels) == 40_000
    assert not {f"00:{minute:02d}:00:0{frame}" for minute in range(22) if minute % 10 for frame in (0, 1)} & labels


@pytest.mark.parametrize("start", ["", "1:2:3:4", "25:00:00:00", "00:00:00:25", "00:60:00:00", "aa:bb:cc:dd"])
def test_what_is_no_timecode_is_none(start: str) -> None:
    assert timecodes_ns(start, Fraction(25), [0]) is None
