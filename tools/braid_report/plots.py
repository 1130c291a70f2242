# SPDX-License-Identifier: Apache-2.0
"""The pictures of a report, each with the caption that says what its axes are."""

from . import layers
from .panels import panels
from .summaries import GAIN, GAIN_UNIT, gain_by_depth, head_to_head, throughput, with_streams

MARKS = "A cross and a dotted line mark where a run turned NaN. Several seeds: thin lines, their mean a thick one."
PRODUCT = "of the product of all stream-mixing matrices (no unit)"
CAPTIONS = {
    "loss": "Up: training loss in nats per token, mean over all ranks before each update.",
    "eval": "Up: loss on held-out samples in nats per token.",
    "grad_norm": "Up: 2-norm of the whole gradient before clipping (no unit), logarithmic.",
    "gain": f"Up: log10 of the largest entry {PRODUCT}: above 0 signals can grow. A product of doubly stochastic "
            "matrices tends to -log10(streams) whatever was learnt.",
    "amax_gain_forward": f"Up: largest absolute row sum {PRODUCT}: how much a forward signal can grow; 1 is neutral.",
    "amax_gain_backward": f"Up: largest absolute column sum {PRODUCT}: how much a gradient can grow; 1 is neutral.",
    "nonfinite": "Up: number of steps so far whose loss or logits were NaN or infinite.",
    "gain_by_depth": f"Across: layers. Up: log10 of the largest entry {PRODUCT} at each run's last step; of several "
                     "seeds the mean. At the bottom stand runs without a finite gain: a cross for NaN or inf, a "
                     "hollow marker for a run that is not there.",
    "head_to_head": "The deepest models only. Across: optimiser steps. Up: training loss in nats per token, and log10 "
                    f"of the largest entry {PRODUCT}. {MARKS}",
    "throughput": "Across: tokens per second of all ranks together, median over the steps without the first two.",
}  # fmt: skip


def over_steps(runs):
    """Name → figure or None of everything that has steps across."""
    streams = with_streams(runs)
    return {
        "loss": panels(runs, "loss", "Training loss", "nats/token"),
        "eval": panels(runs, "loss", "Held-out loss", "nats/token", table="eval"),
        "grad_norm": panels(runs, "grad_norm", "Gradient norm", "2-norm", log=True),
        "gain": panels(streams, GAIN, "Gain", GAIN_UNIT, log=False),
        "amax_gain_forward": panels(streams, "amax_gain_forward", "Forward gain", "largest row sum"),
        "amax_gain_backward": panels(streams, "amax_gain_backward", "Backward gain", "largest column sum"),
        "nonfinite": panels(runs, "nonfinite_total", "Non-finite steps", "steps so far", counts=True),
    }


def all_figures(runs):
    """(file name, caption, figure) of every picture the runs have data for."""
    steps = over_steps(runs)
    captions = CAPTIONS | {name: f"Across: optimiser steps. {CAPTIONS[name]} {MARKS}" for name in steps}
    summaries = {"gain_by_depth": gain_by_depth(runs), "head_to_head": head_to_head(runs),
                 "throughput": throughput(runs)}  # fmt: skip
    figures = {**steps, **summaries}
    drawn = [(name, captions[name], figure) for name, figure in figures.items() if figure is not None]
    return drawn + layers.figures(runs)
