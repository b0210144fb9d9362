"""The house stays in order: packages, their declarations, file names and sizes agree with one another."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from jaxtyping import TypeCheckError

from geometry.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES: list[str] = PROJECT["tool"]["importlinter"]["root_packages"]
HOMELESS_NAMES = {"utils", "util", "helpers", "common", "base", "misc"}
LONGEST_FILE = 400
MOST_PARAMETERS = 6


def _sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def _constraints() -> dict[str, str]:
    """Pinned versions by normalised name."""
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = re.fullmatch(r"([A-Za-z0-9_.-]+)==([^ ;]+)", line).groups()  # pyright: ignore[reportOptionalMemberAccess]
            pins[_normalised(name)] = version
    return pins


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements() -> list[str]:
    return [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["dev"]]


def test_every_package_is_declared_wherever_packages_are_listed() -> None:
    on_disk = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    shipped = {pattern.removesuffix("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert set(PACKAGES) == on_disk == shipped
    assert set(PROJECT["tool"]["ruff"]["lint"]["isort"]["known-first-party"]) == on_disk


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_with_code_is_a_package_and_the_top_one_says_what_it_is(package: str) -> None:
    folders = {path.parent for path in (ROOT / package).rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").is_file()] == []
    docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
    assert docstring and docstring.endswith(".")


def test_files_are_named_for_what_they_hold_and_short() -> None:
    wrong = [str(path.relative_to(ROOT)) for path in _sources() if path.stem in HOMELESS_NAMES]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _sources()
        if (lines := len(path.read_text().splitlines())) > LONGEST_FILE
    }
    assert wrong == []
    assert long == {}


def test_test_folders_mirror_the_code() -> None:
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/**/test_*.py")}
    assert folders <= set(PACKAGES) | {"benchmarks", "examples"}


def test_constraints_pin_every_requirement_within_its_bound() -> None:
    pins = _constraints()
    for requirement in _requirements():
        name, bound = re.fullmatch(r"([A-Za-z0-9.-]+)(?:\[[a-z0-9,]+\])?>=([0-9.]+)(?:; .+)?", requirement).groups()  # pyright: ignore[reportOptionalMemberAccess]
        assert _normalised(name) in pins, f"{name} is not pinned in constraints.txt"
        assert _release(pins[_normalised(name)]) >= _release(bound), requirement


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))  # pyright: ignore[reportOptionalSubscript]


def test_constraints_hold_with_and_without_a_gpu() -> None:
    """A local version (torch's `+cpu`) exists in one of the two worlds only."""
    assert [name for name, version in _constraints().items() if "+" in version] == []


def test_changelog_speaks_of_this_version_or_the_next() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] in {"Unreleased", PROJECT["project"]["version"]}


@pytest.mark.parametrize("script", ["tools/setup.sh", ".ci/run"])
def test_scripts_parse_and_are_executable(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)


def test_types_are_checked_while_tests_run() -> None:
    with pytest.raises(TypeCheckError):
        InputError(expected=1, got="", remedy="")  # pyright: ignore[reportArgumentType]
