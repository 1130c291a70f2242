# SPDX-License-Identifier: Apache-2.0
"""One picture for many runs: gain against depth, the deepest models, throughput."""

import collections
import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.transforms import blended_transform_factory

from .panels import depth_title, draw_group, finish_axes, notes, scale_values
from .style import color, label, legend_below, style, variants

GAIN = "gain_proxy_log10_max_entry"
GAIN_UNIT = "log10 of the largest entry"


def with_streams(runs):
    return [run for run in runs if run.variant != "baseline" and run.depth is not None]


def what_instead(run):
    """The word that stands where a run has no finite final gain."""
    value = run.final(GAIN)
    return run.state if value is None else "NaN" if math.isnan(value) else "inf"


def draw_final_gains(axes, runs, variant, above):
    """Points of one variant, the line through their means, and the values written beside them."""
    by_depth = collections.defaultdict(list)
    for run in runs:
        value = run.final(GAIN)
        if run.variant == variant and value is not None and math.isfinite(value):
            by_depth[run.depth].append(value)
    places = sorted(by_depth)
    means = [float(np.mean(by_depth[d])) for d in places]
    axes.plot(places, means, linewidth=1.6, **style(variant))
    for depth, mean in zip(places, means):
        axes.annotate(f"{mean:.2f}", (depth, mean), textcoords="offset points", xytext=(0, 8 if above else -15),
                      ha="center")
        if len(by_depth[depth]) > 1:
            axes.plot([depth] * len(by_depth[depth]), by_depth[depth], "_", color=color(variant), markersize=9)


def mark_without_gain(axes, runs):
    """Runs without a finite gain keep their place: a cross for NaN, a hollow marker for one that is not there."""
    stacked = collections.Counter()
    across = blended_transform_factory(axes.transData, axes.transAxes)
    for run in runs:
        value = run.final(GAIN)
        if value is not None and math.isfinite(value):
            continue
        height = 0.04 + 0.065 * stacked[run.depth]
        stacked[run.depth] += 1
        look = {"marker": "X"} if value is not None else {"marker": style(run.variant)["marker"], "fillstyle": "none"}
        axes.plot(run.depth, height, transform=across, color=color(run.variant), markersize=7, linestyle="none", **look)
        axes.annotate(f"{label(run.variant)}: {what_instead(run)}", (run.depth, height), xycoords=across, va="center",
                      textcoords="offset points", xytext=(8, 0), fontsize=9, color="#333333")
    return max(stacked.values(), default=0)


def gain_by_depth(runs):
    """Final gain against depth, for the variants with streams."""
    wanted = with_streams(runs)
    if not any(run.column(GAIN) is not None for run in wanted):
        return None
    figure, axes = plt.subplots(figsize=(7, 4.6))
    shown = variants(wanted)
    for i, variant in enumerate(shown):
        draw_final_gains(axes, wanted, variant, above=i % 2 == 0)
    axes.axhline(0, color="black", linewidth=0.7)
    ticks = sorted({run.depth for run in wanted})
    reach = max(ticks[-1] - ticks[0], 4)
    axes.set_xlim(ticks[0] - 0.12 * reach, ticks[-1] + 0.3 * reach)
    low, high = axes.get_ylim()
    rows = mark_without_gain(axes, wanted)
    axes.set_ylim(low - (0.08 + 0.09 * rows) * (high - low), high + 0.1 * (high - low))
    axes.set_xticks(ticks)
    axes.set_xlabel("layers")
    axes.set_ylabel(GAIN_UNIT)
    legend_below(figure, shown)
    figure.suptitle("Gain at the end of training")
    return figure


def head_to_head(runs):
    """The deepest models: loss and gain side by side. None when there is nothing to compare."""
    known = [run for run in runs if run.depth is not None]
    deepest = [run for run in known if run.depth == max(r.depth for r in known)]
    if len(variants(deepest)) < 2 or all(run.column("loss") is None for run in deepest):
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.4, 4.4))
    losses, gains = [], []
    for place, variant in enumerate(variants(deepest)):
        group = [run for run in deepest if run.variant == variant]
        losses += draw_group(left, group, "loss", "train", place)
        gains += draw_group(right, group, GAIN, "train", place) if variant != "baseline" else []
    scale_values(left, losses, log=None)
    scale_values(right, gains, log=False)
    right.axhline(0, color="black", linewidth=0.7)
    left.set_title("\n".join(["training loss", *notes(deepest)]))
    right.set_title("\n".join(["gain", *notes(with_streams(deepest))]))
    left.set_ylabel("nats/token")
    right.set_ylabel(GAIN_UNIT)
    for axes in (left, right):
        finish_axes(axes, deepest)
    legend_below(figure, variants(deepest))
    figure.suptitle(f"The deepest models: {depth_title(deepest[0].depth)}")
    return figure


def throughput(runs):
    """One bar a run; one without a measurement keeps its line and says why."""
    rates = [run.tokens_per_second() for run in runs]
    if not any(rates):
        return None
    figure, axes = plt.subplots(figsize=(7.6, 0.36 * len(runs) + 1.5))
    places = np.arange(len(runs))[::-1]
    for place, run, rate in zip(places, runs, rates):
        axes.barh(place, rate or 0, color=color(run.variant), edgecolor="black", linewidth=0.5)
        words = f"{rate:,.0f}" if rate else run.state
        axes.annotate(words, (rate or 0, place), textcoords="offset points", xytext=(4, 0), va="center", fontsize=9,
                      style="normal" if rate else "italic")
    axes.set_yticks(places, [run.name for run in runs])
    axes.set_ylim(-0.6, len(runs) - 0.4)
    axes.set_xlim(0, 1.15 * max(rate or 0 for rate in rates))
    axes.xaxis.set_major_locator(plt.MaxNLocator(6))
    axes.set_xlabel("tokens/s")
    axes.grid(axis="y", visible=False)
    figure.suptitle("Throughput, all ranks together")
    return figure
