# SPDX-License-Identifier: Apache-2.0
"""What the public Engram experiment says of itself, for comparison: softwarewrighter/engram-poc (MIT), of which three
figures with three recipes are known. Base model (SmolLM-135M-Instruct) and patterns are its own."""

import dataclasses
import math

from .engram_results import Latency, Share, wilson

REMARK = ("Public figures: softwarewrighter/engram-poc, with SmolLM-135M-Instruct and 131 patterns of its own. Another "
          "base model and other patterns give other figures: what can be compared is the recipe and the size of a "
          "change. Its answers, of at most 50 tokens, were judged by the prefix match; its intervals and p values are "
          "computed from its counts here, the p values without pairs (two-sided z test), since single answers were not "
          "published. Its losses are means over ten steps in mlx; of seed it is not said.")  # fmt: skip


@dataclasses.dataclass
class Published:
    """Public figures of one protocol; None where nothing was said."""

    protocol: str
    source: str
    base: Share  # prefix match, all items
    tuned: Share
    examples: int
    epochs: str
    steps: str
    seconds: str
    losses: tuple  # of training: first, last
    held_out: float | None  # the last
    latency: dict  # model → Latency of whole answers
    parameters_trained: int
    hardware: str

    def p_value(self):
        return z_test(self.base, self.tuned)


def z_test(a, b):
    """The p-value, two sides, of equal shares in two independent samples (normal approximation, pooled)."""
    pooled = (a.right + b.right) / (a.of + b.of)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / a.of + 1 / b.of))
    return math.erfc(abs(a.value - b.value) / deviation / math.sqrt(2))


def latencies(base, tuned):
    return {"base": Latency(base), "tuned": Latency(tuned)}


PUBLISHED = {
    "seed": Published(
        "seed", "docs/results-cuda.md at commit 78377d0 (2026-02-03). Trained on Alpaca-style text, asked with bare "
        "prompts; the card was first given as RTX 3060 12 GB",
        wilson(11, 128), wilson(8, 128), 243, "1", "61", "26.1", (4.01, 3.19), None,
        latencies(1981, 1913), 2_442_240, "RTX 5060 16 GB"),
    "raw": Published(
        "raw", "results/comparison.json at commit c3729643. Epochs and learning rate are not certain: the file is older "
        "than the change to 10 epochs that it is said to come from",
        wilson(11, 128), wilson(18, 128), 243, "10?", "610?", "~90", (None, None), None,
        latencies(1334.80, 1448.92), 2_442_240, "RTX 5060 16 GB"),
    "mlx": Published(
        "mlx", "the figures for Apple's MLX. Trained with the chat template, asked with bare prompts. Its headline of "
        "-58.2 % is held-out loss, from 4.344 to 1.815",
        wilson(9, 104), wilson(12, 104), 269, "1.49", "100", "~10", (4.140, 1.755), 1.815,
        latencies(252.6, 262.4), 1_302_528, "Apple M series"),
}  # fmt: skip


def sources(protocols):
    """A line for each of the protocols of which figures are public."""
    return [f"{said.protocol}: {said.source}." for name, said in PUBLISHED.items() if name in protocols]
