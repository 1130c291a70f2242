# SPDX-License-Identifier: Apache-2.0
"""NF4 and the 8-bit maps bit by bit against bitsandbytes, running beside."""

import os

import pytest
import torch
from probe_files import run

bnb = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install bitsandbytes==0.50.2")
F = bnb.functional

SEED = int(os.environ.get("BRAID_TEST_SEED", torch.seed() % 2**31))
LEVELS = ["base", "avx2", "avx512"]


@pytest.fixture(autouse=True)
def fresh_numbers():
    print(f"BRAID_TEST_SEED={SEED}")
    torch.manual_seed(SEED)


@pytest.fixture(params=LEVELS)
def level(request):
    best = torch.backends.cpu.get_cpu_capability()
    if LEVELS.index(request.param) > {"AVX2": 1, "AVX512": 2}.get(best, 0):
        pytest.skip(f"this processor has no {request.param}")
    return request.param


def dequantised(packed, state, shape):
    """By bitsandbytes in float32, as one row: its CPU library takes the wrong absmax where rows are no whole number of blocks."""
    state.dtype, state.shape = torch.float32, torch.Size([1, shape[0] * shape[1]])
    return F.dequantize_4bit(packed.reshape(-1, 1), state).reshape(shape)


def weights(rows, columns, dtype, deviation=0.02):
    return (torch.randn(rows, columns) * deviation).to(dtype)


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def test_maps_are_equal(tmp_path):
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("PyTorch's own maps differ in the last bit on processors without AVX2")
    maps = run("nf4_probe", "maps", {"none": torch.zeros(1)}, tmp_path)
    for has_sign, name in ((True, "signed"), (False, "unsigned")):
        assert torch.equal(bits(maps[name]), bits(F.create_dynamic_map(signed=has_sign)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(64, 64), (2048, 5632), (31, 48), (3, 7), (1, 1), (5, 4097)])
def test_bytes_and_absmax_are_equal(tmp_path, level, dtype, shape):
    x = weights(*shape, dtype)
    packed, state = F.quantize_4bit(x, quant_type="nf4")
    ours = run("nf4_probe", "quantise", {"x": x}, tmp_path, BRAID_CPU_LEVEL=level)
    assert torch.equal(ours["packed"], packed.reshape(-1))
    assert torch.equal(bits(ours["absmax"]), bits(state.absmax))


def test_blocks_of_zeros_and_of_one_value_are_equal(tmp_path, level):
    x = torch.cat([torch.zeros(64), torch.full((64,), -3.0), torch.full((64,), 1e-39), torch.zeros(5)])
    packed, state = F.quantize_4bit(x, quant_type="nf4")
    ours = run("nf4_probe", "quantise", {"x": x}, tmp_path, BRAID_CPU_LEVEL=level)
    assert torch.equal(ours["packed"], packed.reshape(-1))
    assert torch.equal(bits(ours["absmax"]), bits(state.absmax))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_back_equal(tmp_path, level, dtype):
    for shape in ((256, 512), (31, 48), (3, 8)):
        packed, state = F.quantize_4bit(weights(*shape, dtype), quant_type="nf4")
        theirs = dequantised(packed, state, shape)
        ours = run("nf4_probe", "dequantise", {"packed": packed, "absmax": state.absmax, "like": torch.empty(shape)}, tmp_path,
                   BRAID_CPU_LEVEL=level)  # fmt: skip
        assert torch.equal(bits(ours["float32"]), bits(theirs))
        assert torch.equal(bits(ours["bfloat16"]), bits(theirs.to(torch.bfloat16)))


def test_nested_absmax_is_within_one_code_and_its_weights_are_equal(tmp_path, level):
    x = weights(2048, 5632, torch.bfloat16)
    packed, state = F.quantize_4bit(x, quant_type="nf4", compress_statistics=True)
    ours = run("nf4_probe", "quantise", {"x": x, "offset": state.offset}, tmp_path, BRAID_CPU_LEVEL=level)
    assert torch.equal(ours["packed"], packed.reshape(-1))
    assert torch.equal(bits(ours["nested"]), bits(state.state2.absmax))
    difference = (ours["codes"].int() - state.absmax.int()).abs()
    assert difference.max() <= 1 and (difference > 0).float().mean() < 0.01
    # The codes are the nearest ones: bitsandbytes rounds so on GPUs, and on CPUs what is neither float32 nor 16 bits.
    _, single = F.quantize_4bit(x, quant_type="nf4")
    centred = single.absmax - state.offset
    scaled = centred.reshape(-1, 256) * (1 / ours["nested"].reshape(-1, 1))
    nearest, _ = torch.ops.bitsandbytes.quantize_blockwise(scaled.double(), state.state2.code, 256)
    assert (ours["codes"].int() - nearest.reshape(-1).int()).abs().float().mean() < 1e-5
    # What their codes stand for.
    theirs = dequantised(packed, state, x.shape)
    tensors = {"packed": packed, "absmax": state.state2.absmax, "codes": state.absmax, "map": state.state2.code,
               "offset": state.offset, "like": torch.empty(x.shape)}  # fmt: skip
    back = run("nf4_probe", "dequantise", tensors, tmp_path, BRAID_CPU_LEVEL=level)
    assert torch.equal(bits(back["float32"]), bits(theirs))
