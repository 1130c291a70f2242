# SPDX-License-Identifier: Apache-2.0
"""Braid's reader and writer of safetensors against the format's own package, both ways."""

import json
import os
import pathlib
import subprocess

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file as load_numpy
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file, save_file

PROBE = pathlib.Path(os.environ.get("BRAID_BUILD", "build")) / "tests" / "safetensors_probe"
pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE} is not built")


def probe(*words):
    return subprocess.run([PROBE, *words], capture_output=True, text=True, timeout=60)


def bits(tensor):
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def tensors_of_every_type():
    torch.manual_seed(3)
    floats = {f"float.{name}": torch.randn(5, 3).to(kind) for name, kind in (("f64", torch.float64), ("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16))}
    floats["special"] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45], dtype=torch.bfloat16)
    wholes = {f"whole.{kind}": torch.arange(-3, 4).to(kind) for kind in (torch.int64, torch.int32, torch.int8, torch.uint8)}
    return floats | wholes | {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4), "name with \"quotes\" and ü": torch.ones(2, 2, 2)}


def test_what_braid_copies_is_what_the_package_reads(tmp_path):
    tensors = tensors_of_every_type()
    save_file(tensors, tmp_path / "in.safetensors", metadata={"format": "pt", "note": "two\nlines"})
    done = probe("copy", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert done.returncode == 0, done.stderr
    copied = load_file(tmp_path / "out.safetensors")
    assert set(copied) == set(tensors)
    for name, tensor in tensors.items():
        assert copied[name].dtype == tensor.dtype and copied[name].shape == tensor.shape, name
        assert bits(copied[name]) == bits(tensor), name
    with safe_open(tmp_path / "out.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "note": "two\nlines"}
        assert file.get_slice("float.bf16")[1:3].tolist() == tensors["float.bf16"][1:3].tolist()


def test_the_header_is_padded_so_that_elements_are_aligned(tmp_path):
    for length in range(1, 9):
        save_file({"x" * length: torch.ones(2)}, tmp_path / "in.safetensors")
        assert probe("copy", tmp_path / "in.safetensors", tmp_path / "out.safetensors").returncode == 0
        content = (tmp_path / "out.safetensors").read_bytes()
        header = int.from_bytes(content[:8], "little")
        assert header % 8 == 0 and content[8 + header :] == torch.ones(2).numpy().tobytes()


def test_types_and_shapes_are_listed(tmp_path):
    save_numpy({"a": np.zeros((2, 3), np.uint16), "b": np.zeros(4, np.uint32), "c": np.array(True)}, tmp_path / "in.safetensors")
    lines = probe("list", tmp_path / "in.safetensors").stdout.splitlines()
    assert sorted(lines) == ["a uint16 [2,3]", "b uint32 [4]", "c uint8 []"]
    assert probe("copy", tmp_path / "in.safetensors", tmp_path / "out.safetensors").returncode == 0
    copied = load_numpy(tmp_path / "out.safetensors")
    assert copied["a"].dtype == np.uint16 and copied["b"].dtype == np.uint32
    assert copied["c"].dtype == np.uint8 and copied["c"] == 1  # BOOL is read as bytes


def refused_by_both(path):
    done = probe("list", path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and str(path) in done.stderr, done.stderr
    with pytest.raises(SafetensorError), safe_open(path, "pt") as file:
        file.keys()


def test_every_truncation_and_a_tail_are_refused_by_both(tmp_path):
    save_file({"a": torch.randn(3, 5), "b": torch.ones(2, dtype=torch.int64)}, tmp_path / "in.safetensors")
    content, path = (tmp_path / "in.safetensors").read_bytes(), tmp_path / "cut.safetensors"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused_by_both(path)
    path.write_bytes(content + b"\0")
    refused_by_both(path)


def write(path, header, payload):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + payload)


@pytest.mark.parametrize("header", [
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}},
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
    {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]}},
    {"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}, "b": {"dtype": "U8", "shape": [2], "data_offsets": [6, 8]}},
    {"a": {"dtype": "X8", "shape": [8], "data_offsets": [0, 8]}},
    {"a": {"dtype": "U8", "shape": [-8], "data_offsets": [0, 8]}},
    {"a": {"dtype": "U8", "shape": [2**62, 2**62], "data_offsets": [0, 8]}},
    {"a": {"shape": [8], "data_offsets": [0, 8]}},
    {"a": [1, 2]},
])
def test_headers_that_lie_are_refused_by_both(tmp_path, header):
    write(tmp_path / "x.safetensors", header, bytes(8))
    refused_by_both(tmp_path / "x.safetensors")
