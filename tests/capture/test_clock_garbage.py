"""Whatever stands in the tables of times: frame sets of recorded frames or a refusal, and no warning."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from capture.readers.recording import StreamClock
from capture.sync import synchronise
from geometry.errors import InputError
from tests.capture.clocks.simulated import DESK

TIMES = st.one_of(
    st.integers(-(2**61), 2**61),
    st.integers(0, 10**10),
    st.integers(0, 60).map(lambda k: k * 33_333_333),
    st.sampled_from([0, 2**61, -(2**61), 10**18]),
)


@st.composite
def _clock(draw: st.DrawFn, columns: list[str]) -> StreamClock:
    count = draw(st.sampled_from([0, 1, 2, 3, 9, 40]))
    values = {
        name: np.array(draw(st.lists(TIMES, min_size=count, max_size=count)), np.int64)
        for name in ("device_ns", *columns)
    }
    return StreamClock(**values)


@settings(max_examples=80, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(data=st.data())
def test_any_times_at_all(data: st.DataObject) -> None:
    columns = data.draw(
        st.lists(st.sampled_from(["host_ns", "frame_counter", "trigger_id", "timecode_ns"]), unique=True)
    )
    clocks = {name: data.draw(_clock(columns)) for name in DESK.ids}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = synchronise(DESK, clocks)
        except InputError:
            return
    for column, name in enumerate(DESK.ids):
        used = found.sync.index[:, column]
        used = used[used >= 0]
        assert len(set(used.tolist())) == len(used) and (used < len(clocks[name].device_ns)).all()
    assert all(np.isfinite([report.offset_s, report.drift_ppm, report.spread_ms]).all() for report in found.cameras)


def test_numbers_that_64_bits_cannot_subtract_are_refused() -> None:
    plain = {name: StreamClock(np.arange(5) * 10**8) for name in DESK.ids}
    for wrong in (StreamClock(np.array([-(2**63), 0])), StreamClock(np.arange(2), np.array([0, 2**63 - 1]))):
        with pytest.raises(InputError, match=r"2\^61"):
            synchronise(DESK, plain | {DESK.ids[0]: wrong})
