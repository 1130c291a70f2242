# SPDX-License-Identifier: Apache-2.0
"""Braid's copy of CPython's random numbers against the module itself."""

import os
import pathlib
import random
import subprocess

import pytest

PROBE = pathlib.Path(os.environ.get("BRAID_BUILD", "build")) / "tests" / "python_random_probe"
pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE} is not built")
SEEDS = [0, 1, 42, 2**32 - 1, 2**32, 2**63 + 12345, 2**64 - 1] + [random.Random(7).getrandbits(bits) for bits in range(1, 65)]
SIZES = [1, 2, 3, 4, 5, 6, 7, 21, 22, 31, 64, 100, 337, 1000]


def answers(questions):
    text = "".join(" ".join(map(str, question)) + "\n" for question in questions)
    done = subprocess.run([PROBE], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [[int(x) for x in line.split()] for line in done.stdout.splitlines()]


def agree(questions, expected):
    got = answers(questions)
    assert len(got) == len(questions)
    assert [(q, g) for q, g in zip(questions, got) if g != expected(*q)] == []


def test_bits_of_every_width():
    def expected(_, seed, width, count):
        generator = random.Random(seed)
        return [generator.getrandbits(width) for _ in range(count)]

    agree([("bits", seed, width, 8) for seed in SEEDS for width in (1, 7, 31, 32, 33, 63, 64)], expected)
    agree([("bits", 42, 32, 2000)], expected)  # past the first twists of the state


def test_numbers_below_a_bound():
    def expected(_, seed, bound, count):
        generator = random.Random(seed)
        return [generator.randrange(bound) for _ in range(count)]

    agree([("below", seed, bound, 20) for seed in SEEDS for bound in (*SIZES, 2**31 + 1, 2**40)], expected)


def test_shuffles():
    def expected(_, seed, size):
        items = list(range(size))
        random.Random(seed).shuffle(items)
        return items

    agree([("shuffle", seed, size) for seed in SEEDS for size in SIZES], expected)


def test_samples_from_pools_and_from_sets():
    def expected(_, seed, size, count):
        return random.Random(seed).sample(range(size), count)

    counts = lambda size: {count for count in (0, 1, 3, 5, 6, 10, 21, 60) if count <= size} | {size}
    agree([("sample", seed, size, count) for seed in SEEDS for size in SIZES for count in sorted(counts(size))], expected)
