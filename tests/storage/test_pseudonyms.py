"""Subject ids that look like a person's name or address are refused; codes are not."""

import pytest

from geometry.errors import InputError
from storage.pseudonyms import require_pseudonym


@pytest.mark.parametrize(
    "code",
    ["subject-0007", "S012", "sim-0000", "P_ab3f", "subject-7", "Subject-A", "A.B", "SimSubject01", "7", "été-3"],
)
def test_codes_pass_unchanged(code: str) -> None:
    assert require_pseudonym(code) == code


@pytest.mark.parametrize(
    "name",
    [
        "Jane Doe",
        "jane doe",
        "jane@example.org",
        "JaneDoe",
        "Jane-Doe",
        "Jane_Doe",
        "Jane.van.Doe",
        "Jane-Doe-2",
        "Müller-Groß",
        "Jane\tDoe",
        "subject\u00a07",
        "s\x00",
        "s" * 65,
        "",
    ],
)
def test_names_and_addresses_are_refused_without_being_repeated(name: str) -> None:
    with pytest.raises(InputError) as caught:
        require_pseudonym(name)
    assert "subject-0007" in caught.value.remedy
    assert not name or name not in str(caught.value)
