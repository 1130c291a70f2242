# SPDX-License-Identifier: Apache-2.0
"""Values over steps: one panel a depth, one curve a variant."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from .style import color, label, legend_below, style, variants

COLUMNS = 3     # panels beside one another
MAX_NOTES = 5   # lines under a panel's title
BROKE_OFF = ("missing", "failed", "unreadable", "stopped", "preempted")


def groups_by_depth(runs, column, table):
    """Depth → runs, ascending, unknown last. Left out where runs have rows, but none of this column (no evaluation)."""
    groups = {}
    for run in sorted(runs, key=lambda r: (r.depth is None, r.depth or 0)):
        groups.setdefault(run.depth, []).append(run)
    drawn = {depth: any(run.curve(column, table) is not None for run in here) for depth, here in groups.items()}
    empty = {depth: all(run.train is None for run in here) for depth, here in groups.items()}
    return {d: here for d, here in groups.items() if drawn[d] or (empty[d] and d is not None)}


def depth_title(depth):
    return "depth unknown" if depth is None else f"{depth} layers"


def spans_decades(series, decades=2):
    values = np.concatenate([s[np.isfinite(s) & (s > 0)] for s in series]) if series else np.array([])
    return len(values) > 0 and values.max() / values.min() > 10**decades


def recipe(run):
    """The configuration without its seed, comparable."""
    train = run.config.get("train")
    rest = {k: v for k, v in train.items() if k != "seed"} if isinstance(train, dict) else train
    return {**run.config, "train": rest}


def are_seeds(group):
    """Whether the runs differ in their seed only; a mean over anything else would mean nothing."""
    distinct = len({run.seed for run in group}) == len(group)
    return len(group) > 1 and distinct and all(recipe(run) == recipe(group[0]) for run in group)


def mean_curve(curves):
    """Mean over the steps that every curve has."""
    steps = curves[0][0]
    for x, _ in curves[1:]:
        steps = np.intersect1d(steps, x)
    return steps, np.mean([y[np.isin(x, steps)] for x, y in curves], axis=0)


def strong_line(axes, x, y, variant, place):
    """Markers at an eighth of the curve, shifted by variant so that they do not hide one another."""
    if len(x) == 0:
        return
    every = max(1, len(x) // 8)
    first = min(place * every // 3, len(x) - 1)
    axes.plot(x, y, linewidth=1.6, markersize=4, markevery=(first, every), **style(variant))


def draw_group(axes, group, column, table, place):
    """Curves of one (depth, variant). One run: strong. Seeds: thin, their mean strong. Others: strong and named."""
    drawn = [(run, curve) for run in group if (curve := run.curve(column, table)) is not None]
    seeds = are_seeds([run for run, _ in drawn])
    for i, (run, (x, y)) in enumerate(drawn):
        if seeds:
            axes.plot(x, y, linewidth=0.7, alpha=0.55, color=color(run.variant))
        else:
            strong_line(axes, x, y, run.variant, place)
        if len(drawn) > 1 and not seeds and np.isfinite(y[-1]):
            axes.annotate(run.name, (x[-1], y[-1]), textcoords="offset points", xytext=(-2, 3 + 8 * i), ha="right",
                          fontsize=7)  # stacked: equal curves would hide one another's names
        mark_end_of_finite(axes, run, x, y)
    if seeds:
        strong_line(axes, *mean_curve([curve for _, curve in drawn]), group[0].variant, place)
    return [y for _, (_, y) in drawn]


def mark_end_of_finite(axes, run, x, y):
    """A cross where the curve ends in NaN: at its last finite value, else at the bottom of the panel."""
    start = run.nan_from()
    if start is None or np.isfinite(y[-1]):
        return
    axes.axvline(start, color=color(run.variant), linewidth=0.8, linestyle=":")
    finite = np.flatnonzero(np.isfinite(y))
    cross = {"marker": "X", "markersize": 8, "color": color(run.variant), "markeredgecolor": "white",
             "linestyle": "none", "clip_on": False, "zorder": 5}
    if len(finite):
        axes.plot(x[finite[-1]], y[finite[-1]], **cross)
    else:
        axes.plot(start, 0.03, transform=blended_transform_factory(axes.transData, axes.transAxes), **cross)


def notes(runs):
    """What is not to be seen in the curves: where NaN begins, and runs that are missing or broke off."""
    lines = []
    for run in runs:
        several = sum(other.variant == run.variant for other in runs) > 1
        who = label(run.variant) + (f" s{run.seed}" if several else "")
        if run.nan_from() is not None:
            lines.append(f"{who}: NaN from step {run.nan_from()}")
        if run.state == "running":
            lines.append(f"{who}: running")
        elif run.state == "silent":
            lines.append(f"{who}: crashed at step {run.steps_done()}")
        elif run.state in BROKE_OFF:
            lines.append(f"{who}: {run.state}")
    return lines if len(lines) <= MAX_NOTES else [*lines[: MAX_NOTES - 1], f"and {len(lines) - MAX_NOTES + 1} more"]


def finish_axes(axes, runs):
    """The planned range, so that a run that broke off is seen to end early; of one that has just begun only so much
    that its curve takes a third."""
    planned = max(max(run.planned_steps, run.steps_done()) for run in runs)
    done = max(run.steps_done() for run in runs)
    end = max(1, min(planned, 3 * done) if done else planned)
    axes.set_xlim(-0.015 * end, 1.015 * end)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("step")


def scale_values(axes, series, log):
    """log=None: logarithmic from two decades on. With nothing finite to show the axis still reads sensibly."""
    if not any(np.isfinite(values).any() for values in series):
        axes.set_ylim(-1, 1)
    elif log or (log is None and spans_decades(series)):
        axes.set_yscale("log")


def scale_counts(axes, series):
    """Whole numbers from 0, a line at 0 in full view."""
    top = max([1, *(values.max() for values in series)])
    axes.set_ylim(-0.05 * top, 1.08 * top)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))


def grid_of_axes(count, title_lines, share_values=True):
    """Panels of the same size, however long their titles are."""
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    size = (max(6, 4.4 * columns), (3.7 + 0.18 * title_lines) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, sharey=share_values)
    for unused in axes.flat[count:]:
        unused.set_visible(False)
    return figure, list(axes.flat[:count])


def panels(runs, column, title, ylabel, log=None, table="train", counts=False):
    """The figure, or None when no run has the column."""
    if not any(run.curve(column, table) is not None for run in runs):
        return None
    groups = groups_by_depth(runs, column, table)
    titles = ["\n".join([depth_title(depth), *notes(here)]) for depth, here in groups.items()]
    figure, all_axes = grid_of_axes(len(groups), max(words.count("\n") for words in titles))
    series = []
    for axes, words, here in zip(all_axes, titles, groups.values()):
        for place, variant in enumerate(variants(here)):
            group = [run for run in here if run.variant == variant]
            series += draw_group(axes, group, column, table, place)
        axes.set_title(words)
        finish_axes(axes, here)
    for axes in all_axes[::COLUMNS]:
        axes.set_ylabel(ylabel)
    scale_counts(all_axes[0], series) if counts else scale_values(all_axes[0], series, log)
    legend_below(figure, variants(run for here in groups.values() for run in here))
    figure.suptitle(title)
    return figure
