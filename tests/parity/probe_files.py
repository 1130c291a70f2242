# SPDX-License-Identifier: Apache-2.0
"""Test programs that take and give safetensors files."""

import os
import pathlib
import subprocess

import pytest
from safetensors.torch import load_file, save_file

BUILD = pathlib.Path(os.environ.get("BRAID_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build"))


def run(program, command, tensors, folder, **environment):
    """What the program makes of `tensors`, a dict, as a dict."""
    path = BUILD / "tests" / program
    if not path.exists():
        pytest.skip(f"{path} is not built")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "in.safetensors")
    words = [path, command, folder / "in.safetensors", folder / "out.safetensors"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "out.safetensors")
