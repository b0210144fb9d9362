"""The unit of a scan by the size of its face."""

import pytest

from flame_fitting.scans.units import scan_unit
from geometry.errors import InputError


@pytest.mark.parametrize(("name", "metres"), [("m", 1.0), ("cm", 1e-2), ("mm", 1e-3)])
@pytest.mark.parametrize("size", [0.65, 1.0, 1.2])
def test_children_and_adults_in_every_unit(name, metres, size):
    found = scan_unit(metres / size)
    assert (found.name, found.metres) == (name, metres)
    assert found.face_size == pytest.approx(size)


def test_a_size_that_no_unit_explains_is_taken_from_the_average_face_and_said_to_be():
    found = scan_unit(0.0546)
    assert found.name == "unknown"
    assert found.metres == 0.0546


def test_a_unit_that_makes_a_giant_is_refused_and_the_right_one_named():
    with pytest.raises(InputError, match="use --unit mm"):
        scan_unit(1e-3, "cm")
    assert scan_unit(1e-3, "mm").name == "mm"
