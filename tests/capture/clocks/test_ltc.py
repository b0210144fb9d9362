"""Timecode is read from sound at any level, rate, polarity and start, and nothing is read where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capture.clocks.ltc import decode_ltc
from capture.readers.recording import AudioTrack
from studio.clocks import DeviceClock
from studio.ltc import LtcGenerator
from studio.sound import Room, SoundRecorder
from tests.capture.clocks.simulated import audio_track

RATES = {"24": (24.0, False), "25": (25.0, False), "29.97 drop": (30000 / 1001, True), "30": (30.0, False)}
TRUE = DeviceClock(10.0, 0.0)


def _recorded(generator: LtcGenerator, rate_hz: int = 48_000, **how: float) -> SoundRecorder:
    values = {"from_s": -0.21, "duration_s": 6.0, "noise": 1e-3} | how
    return SoundRecorder(generator, TRUE, rate_hz, values["from_s"], values["duration_s"], values["noise"])


def _assert_whole(recorder: SoundRecorder, generator: LtcGenerator, first_count: int, error_s: float = 4e-5) -> None:
    """Every whole word of the recorded stretch, at its place, with its label."""
    words = decode_ltc(audio_track(recorder, "c"))
    assert words is not None
    rate = generator.frame_rate_hz
    assert words.drop_frame == generator.drop_frame and words.frame_rate_hz == pytest.approx(rate)
    start_s = recorder.from_s + words.sample / recorder.rate_hz
    frame = np.round(start_s * rate).astype(int)
    # The first edge rises from silence: its noise decides where.
    assert np.abs(start_s - frame / rate)[frame > 0].max() < error_s
    begin = max(0, int(np.ceil(recorder.from_s * rate)))
    end = int(np.floor((recorder.from_s + recorder.duration_s) * rate)) - 1
    assert set(range(begin + 1, end - 1)) <= set(frame.tolist()) and len(set(frame.tolist())) == len(frame)
    assert (words.count() - first_count == frame).all()


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize(("level", "noise"), [(0.05, 1e-3), (-1.0, 1e-3), (0.5, 0.05)])
def test_every_word_is_read_at_its_place(name: str, rate_hz: int, level: float, noise: float) -> None:
    rate, drop = RATES[name]
    generator = LtcGenerator((1, 0, 3, 7), 10.0, rate, drop, level)
    counting = round(rate)
    first = 3603 * counting + 7 - (108 if drop else 0)  # 60 minutes drop 2 labels in 54 of them
    _assert_whole(_recorded(generator, rate_hz, noise=noise), generator, first)


@settings(max_examples=25, deadline=None)
@given(
    start=st.tuples(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(2, 23)),
    from_s=st.floats(-0.5, 2.0),
    level=st.floats(0.05, 1.0),
    inverted=st.booleans(),
)
def test_any_label_any_start_within_a_word_any_level(
    start: tuple[int, int, int, int], from_s: float, level: float, inverted: bool
) -> None:
    generator = LtcGenerator(start, 8.0, 25.0, False, -level if inverted else level)
    hours, minutes, seconds, frame = start
    recorder = _recorded(generator, from_s=from_s, duration_s=3.0)
    _assert_whole(recorder, generator, (3600 * hours + 60 * minutes + seconds) * 25 + frame)


@pytest.mark.parametrize("name", RATES)
def test_midnight_goes_on_counting(name: str) -> None:
    rate, drop = RATES[name]
    words = decode_ltc(audio_track(_recorded(LtcGenerator((23, 59, 58, 5), 8.0, rate, drop)), "c"))
    assert words is not None and (words.label[0, 0], words.label[-1, 0]) == (23, 0)
    assert (np.diff(words.count()) == 1).all() and words.count()[-1] > words.frames_a_day


def test_a_device_that_drifts_and_a_varying_level_are_followed() -> None:
    generator = LtcGenerator((5, 0, 0, 0), 30.0, 25.0)
    recorder = SoundRecorder(
        lambda time_s: generator(time_s) * (0.2 + 0.8 * np.sin(time_s / 4) ** 2),
        DeviceClock(3.0, 1850.0),
        44_100,
        0,
        25,
    )
    words = decode_ltc(audio_track(recorder, "c"))
    assert words is not None and len(words.sample) >= 25 * 25 - 4
    assert np.diff(words.sample).mean() == pytest.approx(44_100 / 25 * 1.00185, rel=1e-6)


def test_what_dropped_out_is_missing_and_the_rest_is_right() -> None:
    generator = LtcGenerator((5, 0, 0, 0), 12.0, 30.0)
    recorder = _recorded(generator, duration_s=10.0)
    samples = recorder(0, recorder.sample_count).copy()
    random = np.random.default_rng(4)
    for place in random.integers(0, len(samples), 12):
        samples[place : place + 400] = random.normal(0, 0.01, (len(samples[place : place + 400]), 1))
    track = replace(audio_track(recorder, "c"), read=lambda start, stop: samples[start:stop])
    words = decode_ltc(track)
    assert words is not None and 230 < len(words.sample) < 293
    frame = np.round((recorder.from_s + words.sample / recorder.rate_hz) * 30)
    assert (words.count() - 5 * 3600 * 30 == frame).all()


def test_the_channel_that_carries_it_is_found_across_blocks() -> None:
    generator = LtcGenerator((5, 0, 0, 0), 40.0, 25.0)
    recorder = _recorded(generator, duration_s=35.0)
    code = recorder(0, recorder.sample_count)
    noise = np.random.default_rng(0).normal(0, 0.1, code.shape)
    both = np.concatenate([noise, code], 1).astype(np.float32)
    asked: list[int] = []

    def read(start: int, stop: int) -> np.ndarray:
        asked.append(stop - start)
        return both[start:stop]

    words = decode_ltc(AudioTrack("a", "c", 48_000.0, len(both), 2, recorder.anchors, read))
    assert words is not None and (np.diff(words.count()) == 1).all() and len(words.sample) >= 868
    assert max(asked) <= 11 * 48_000, "memory is bounded"


def test_backwards_words_are_known_and_left_out() -> None:
    generator = LtcGenerator((5, 0, 0, 0), 12.0, 25.0)
    track = audio_track(_recorded(generator), "c")
    samples = track.read(0, track.sample_count)[::-1]
    turned = np.concatenate([samples, track.read(0, track.sample_count)])
    words = decode_ltc(replace(track, sample_count=len(turned), read=lambda start, stop: turned[start:stop]))
    assert words is not None and words.backwards > 130
    assert (np.diff(words.count()) == 1).all() and words.sample[0] >= len(samples)


@pytest.mark.parametrize("kind", ["silence", "noise", "speech", "tone", "one word", "nothing"])
def test_nothing_is_read_where_there_is_none(kind: str) -> None:
    count = 6 * 48_000
    time_s = np.arange(count) / 48_000
    samples = {
        "silence": np.zeros(count),
        "noise": np.random.default_rng(1).normal(0, 0.3, count),
        "speech": Room((1.0, 2.0))(time_s),
        "tone": np.sin(2 * np.pi * 1000 * time_s),
        "one word": LtcGenerator((1, 2, 3, 4), 0.04, 25.0)(time_s),
        "nothing": np.zeros(0),
    }[kind].astype(np.float32)[:, None]
    anchors = np.array([[0, 0]], np.int64)
    read = lambda start, stop: samples[start:stop]  # noqa: E731
    assert decode_ltc(AudioTrack("a", "c", 48_000.0, len(samples), 1, anchors, read)) is None
