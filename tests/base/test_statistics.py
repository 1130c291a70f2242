# SPDX-License-Identifier: Apache-2.0
"""Intervals, tests and percentiles against exact arithmetic, Python's own functions and NumPy."""

import math
import os
import pathlib
import random
import subprocess
from fractions import Fraction
from statistics import NormalDist

import numpy
import pytest

PROBE = pathlib.Path(os.environ.get("BRAID_BUILD", "build")) / "tests" / "statistics_probe"
pytestmark = pytest.mark.skipif(not PROBE.exists(), reason=f"{PROBE} is not built")


def answers(questions):
    text = "".join(" ".join(map(repr_of, question)) + "\n" for question in questions)
    done = subprocess.run([PROBE], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [[float(x) for x in line.split()] for line in done.stdout.splitlines()]


def repr_of(x):
    return x if isinstance(x, str) else repr(x)


def score(p, share, n):
    """Wilson's intervals ends where this is z: how many standard deviations of a true share p the seen one is away."""
    return abs(share - p) / math.sqrt(p * (1 - p) / n)


def test_wilsons_ends_are_where_the_score_is_z():
    z = NormalDist().inv_cdf(0.975)
    cases = [(s, n) for n in (1, 2, 7, 29, 104, 128, 5000) for s in sorted({0, 1, n // 3, n // 2, n - 1, n})]
    for (s, n), (low, high) in zip(cases, answers([("wilson", s, n) for s, n in cases]), strict=True):
        assert 0 <= low <= s / n <= high <= 1
        assert low == 0 if s == 0 else score(low, s / n, n) == pytest.approx(z, rel=1e-9)
        assert high == 1 if s == n else score(high, s / n, n) == pytest.approx(z, rel=1e-9)


def exact_two_sided(b, c):
    n, k = b + c, min(b, c)
    return float(min(Fraction(1), 2 * sum(Fraction(math.comb(n, i)) for i in range(k + 1)) / 2**n))


def test_exact_mcnemar_equals_rational_arithmetic():
    generator = random.Random(1)
    pairs = [(0, 0), (0, 1), (5, 5), (0, 40), (300, 700)] + [(generator.randrange(80), generator.randrange(80)) for _ in range(200)]
    for (b, c), (p,) in zip(pairs, answers([("exact", b, c) for b, c in pairs]), strict=True):
        assert p == pytest.approx(exact_two_sided(b, c), rel=1e-9), (b, c)


def test_corrected_mcnemar_equals_the_normal_distribution():
    generator = random.Random(2)
    pairs = [(0, 0), (4, 4), (4, 5)] + [(generator.randrange(60), generator.randrange(60)) for _ in range(200)]
    for (b, c), (p,) in zip(pairs, answers([("corrected", b, c) for b, c in pairs]), strict=True):
        expected = 1.0 if b + c == 0 else 2 * NormalDist().cdf(-max(abs(b - c) - 1, 0) / math.sqrt(b + c))
        assert p == pytest.approx(expected, rel=1e-6, abs=1e-12), (b, c)


def test_percentiles_equal_numpy():
    generator = random.Random(3)
    cases = [(q, [generator.gauss(0, 10) for _ in range(n)]) for n in (1, 2, 3, 10, 101) for q in (0, 5, 33.3, 50, 95, 99.9, 100)]
    for (q, values), (got,) in zip(cases, answers([("percentile", float(q), *values) for q, values in cases]), strict=True):
        assert got == pytest.approx(numpy.percentile(values, q), rel=1e-12, abs=1e-12), (q, len(values))
