"""What every test can ask for: real recordings, a device, and run-time checks of all shapes and types."""

import os
import tomllib
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

ROOT = Path(__file__).resolve().parent.parent
PACKAGES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"]

# From here on every import of these packages is instrumented, so this file must come first and import none of them.
# The tower lets an int stand for a float, as static checkers do. (pytest's option --jaxtyping-packages would do the
# same, but cannot parse a type checker with settings behind more than one package.)
install_import_hook(PACKAGES, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of this suite."""
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where the `device` fixture computes")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The torch and Warp device to test on; asking for a GPU where there is none is an error, not a skip."""
    name = str(request.config.getoption("--device"))
    if name == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise pytest.UsageError("--device cuda expected a CUDA GPU and torch finds none; run with --device cpu")
    return name


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("MIEN_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MANIFEST.md").is_file():
        if "MIEN_DATA" in os.environ:
            pytest.fail(f"MIEN_DATA={folder} holds no MANIFEST.md; unset it or name the data folder")
        pytest.skip("no real recordings: set MIEN_DATA to the data folder")
    return folder
