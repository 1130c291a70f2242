# SPDX-License-Identifier: Apache-2.0
"""8-bit AdamW against bitsandbytes, running beside. Its CPU library rounds moments through a table of 65,536 equal steps,
its GPU kernels, the paper and Braid to the nearest number of the map. The two differ where the map is finer than the
table: below a ten-thousandth of a block's largest moment."""

import os

import pytest
import torch
from probe_files import run

bnb = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install bitsandbytes==0.50.2")
F = bnb.functional

SEED = int(os.environ.get("BRAID_TEST_SEED", torch.seed() % 2**31))
COUNT, BLOCK = 256 * 100 + 77, 256
LR, BETAS, EPSILON, DECAY = 3e-3, (0.9, 0.995), 1e-8, 0.1
TABLE_STEP = 2 / 65535


@pytest.fixture(autouse=True)
def fresh_numbers():
    print(f"BRAID_TEST_SEED={SEED}")
    torch.manual_seed(SEED)


def theirs(weights, gradients):
    parameter = torch.nn.Parameter(weights.clone())
    optimizer = bnb.optim.AdamW8bit([parameter], lr=LR, betas=BETAS, eps=EPSILON, weight_decay=DECAY)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach(), optimizer.state[parameter]


def ours(weights, gradients, folder, divisor=1.0, **environment):
    blocks = -(-weights.numel() // BLOCK)
    state = {"weights": weights, "first": torch.zeros(weights.numel(), dtype=torch.uint8), "first_absmax": torch.zeros(blocks),
             "second": torch.zeros(weights.numel(), dtype=torch.uint8), "second_absmax": torch.zeros(blocks)}  # fmt: skip
    for step, gradient in enumerate(gradients):
        numbers = torch.tensor([LR, *BETAS, EPSILON, DECAY, divisor, step + 1], dtype=torch.float64)
        state = run("adamw8bit_probe", "step", state | {"gradient": gradient, "numbers": numbers}, folder, **environment)
    return state


def of_blocks(absmax):
    return absmax.repeat_interleave(BLOCK)[:COUNT]


def nearest(moment, absmax, code):
    """The code whose number is the nearest."""
    scaled = moment / of_blocks(absmax).clamp(min=1e-38)
    return torch.bucketize(scaled, (code[:-1] + code[1:]) / 2)


@pytest.mark.parametrize("level", ["base", "avx2", "avx512"])
def test_one_step(tmp_path, level):
    if ["base", "avx2", "avx512"].index(level) > {"AVX2": 1, "AVX512": 2}.get(torch.backends.cpu.get_cpu_capability(), 0):
        pytest.skip(f"this processor has no {level}")
    weights, gradient = torch.randn(COUNT), torch.randn(COUNT) * 0.01
    expected, state = theirs(weights, [gradient])
    got = ours(weights, [gradient], tmp_path, BRAID_CPU_LEVEL=level)
    torch.testing.assert_close(got["weights"], expected, rtol=1e-6, atol=1e-7)
    for name, absmax, codes, code, moment in (
        ("first", "absmax1", "state1", state["qmap1"], gradient * (1 - BETAS[0])),
        ("second", "absmax2", "state2", state["qmap2"], gradient.square() * (1 - BETAS[1])),
    ):
        torch.testing.assert_close(got[f"{name}_absmax"], state[absmax], rtol=1e-6, atol=0)
        scaled = (moment / of_blocks(state[absmax])).abs()
        difference = (got[name].int() - state[codes].int()).abs()
        assert difference[scaled > 1e-4].max() <= 1, name
        value = code[got[name].long()] - code[state[codes].long()]
        assert value[scaled <= 1e-4].abs().max() <= TABLE_STEP, name
        assert (got[name].int() - nearest(moment, state[absmax], code)).abs().max() <= 1, name


def test_weights_stay_together_over_steps(tmp_path):
    weights = torch.randn(COUNT)
    gradients = [torch.randn(COUNT) * 0.01 + 0.005 for _ in range(10)]
    expected, _ = theirs(weights, gradients)
    got = ours(weights, gradients, tmp_path)["weights"]
    exact = torch.nn.Parameter(weights.clone())
    optimizer = torch.optim.AdamW([exact], lr=LR, betas=BETAS, eps=EPSILON, weight_decay=DECAY)
    for gradient in gradients:
        exact.grad = gradient.clone()
        optimizer.step()
    ours_off, theirs_off = ((w - exact.detach()).square().mean().sqrt() for w in (got, expected))
    moved = (exact.detach() - weights).square().mean().sqrt()
    assert ours_off < 0.05 * moved
    assert ours_off < 1.1 * theirs_off  # no farther from the update in 32 bits than bitsandbytes


def test_clipping_divides_the_gradient(tmp_path):
    weights, gradient = torch.randn(COUNT), torch.randn(COUNT)
    expected, _ = theirs(weights, [gradient / 4])
    torch.testing.assert_close(ours(weights, [gradient], tmp_path, divisor=4.0)["weights"], expected, rtol=1e-6, atol=1e-7)
