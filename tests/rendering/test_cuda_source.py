"""Every kernel compiles for CUDA, with or without a GPU at hand."""

import importlib
import pkgutil

import pytest
import warp as wp

from rendering import kernels

MODULES = [module.name for module in pkgutil.iter_modules(kernels.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_compiles_for_cuda(name, tmp_path):
    module = importlib.import_module(f"rendering.kernels.{name}")
    source = wp.get_module(module.__name__)
    (code,) = wp.compile_aot_module(source, device=None, arch=[75], module_dir=tmp_path, use_ptx=True)
    entries = code.read_text().count(".entry")
    assert entries == sum(max(1, len(kernel.overloads)) for kernel in source.kernels.values()) > 0
