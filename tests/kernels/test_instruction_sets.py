# SPDX-License-Identifier: Apache-2.0
# A kernel compiled for AVX2 or AVX-512 must share no function with the rest of the program: the linker keeps one copy of
# each inline function, and if that is the AVX-512 one, the program dies of an illegal instruction on an older processor.
import os
import shutil
import subprocess

import pytest


def build_folder():
    return os.environ.get("BRAID_BUILD") or pytest.skip("BRAID_BUILD names no build folder")


def shared_symbols(archive):
    """(object, symbol) of every weak definition in an object of a narrower instruction set, and how many such objects."""
    out = subprocess.run(["nm", "--defined-only", "-C", archive], check=True, capture_output=True, text=True).stdout
    found, objects, current, narrower = [], 0, "", False
    for line in out.splitlines():
        if line.endswith(".o:"):
            current = line[:-1]
            narrower = "_avx" in current or "_amx" in current
            objects += narrower
        elif narrower and len(line.split(None, 2)) == 3:
            kind, name = line.split(None, 2)[1:]
            if kind in "WVu" and not name.startswith("DW.ref."):  # DW.ref: a pointer of exception handling, no code
                found.append((current, name))
    return found, objects


def test_kernels_of_one_instruction_set_share_no_function_with_the_rest():
    if not shutil.which("nm"):
        pytest.skip("no nm")
    archive = os.path.join(build_folder(), "src", "libbraid_kernels.a")
    if not os.path.exists(archive):
        pytest.skip(f"{archive} is not built")
    found, objects = shared_symbols(archive)
    assert objects >= 4
    assert found == []
