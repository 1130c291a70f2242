# SPDX-License-Identifier: Apache-2.0
"""Metrics of every layer: one heat map a run, layer over step, all on one colour scale."""

import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from .panels import COLUMNS, finish_axes, grid_of_axes

MOST_COLUMNS = 400  # steps drawn beside one another; more than a panel has dots for
HATCH = {"facecolor": "#dddddd", "edgecolor": "#777777", "hatch": "////", "linewidth": 0}


def metric_names(runs):
    return sorted({name for run in runs for name in run.layers})


def edges(places):
    """Borders of cells around the places."""
    if len(places) == 1:
        return np.array([places[0] - 0.5, places[0] + 0.5])
    middles = (places[1:] + places[:-1]) / 2
    return np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])


def thinned(metric):
    """(borders of the steps, values) with at most MOST_COLUMNS columns: means, in which one NaN stays NaN."""
    borders = edges(metric.steps.astype(float))
    count = len(metric.steps)
    if count <= MOST_COLUMNS:
        return borders, metric.values
    starts = np.unique(np.linspace(0, count, MOST_COLUMNS + 1).astype(int))
    with np.errstate(invalid="ignore"):
        values = np.add.reduceat(metric.values, starts[:-1], axis=0) / np.diff(starts)[:, None]
    return borders[starts], values


def colour_range(metrics):
    finite = [m.values[np.isfinite(m.values)] for m in metrics]
    finite = np.concatenate(finite) if finite else np.array([])
    if len(finite) == 0:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def draw(axes, metric, limits):
    """Behind the cells lies the hatching, which shows where there is no finite value."""
    x, values = thinned(metric)
    y = edges(metric.axis.astype(float))
    axes.add_patch(Rectangle((x[0], y[0]), x[-1] - x[0], y[-1] - y[0], zorder=0.5, **HATCH))
    cells = np.ma.masked_invalid(values.T)
    image = axes.pcolormesh(x, y, cells, vmin=limits[0], vmax=limits[1], cmap="cividis", rasterized=True, zorder=1)
    axes.set_ylim(y[0], y[-1])
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(False)
    return image


def heat_map(runs, name):
    """The figure, or None where no run has rows of the metric."""
    drawn = [run for run in runs if name in run.layers and run.layers[name].values.size]
    if not drawn:
        return None
    metrics = [run.layers[name] for run in drawn]
    limits = colour_range(metrics)
    figure, all_axes = grid_of_axes(len(drawn), 0, share_values=False)
    for axes, run, metric in zip(all_axes, drawn, metrics):
        image = draw(axes, metric, limits)
        axes.set_title(run.name)
        finish_axes(axes, [run])
    for axes in all_axes[::COLUMNS]:
        axes.set_ylabel("layer")
    figure.colorbar(image, ax=all_axes, label=metrics[0].unit or None, fraction=0.03, aspect=40)
    if any(not np.isfinite(m.values).all() for m in metrics):
        figure.legend(handles=[Patch(label="NaN or infinite", **HATCH)], loc="outside lower center")
    figure.suptitle(name.replace("_", " "))
    return figure


def caption(runs, name):
    metric = next(run.layers[name] for run in runs if name in run.layers)
    what = metric.meaning or name
    unit = f" ({metric.unit})" if metric.unit else ""
    return (f"Across: optimiser steps. Up: layers. Colour: {what}{unit}; all runs share the scale. Hatched where the "
            f"value is NaN or infinite, white where there is none.")  # fmt: skip


def figures(runs):
    """(file name, caption, figure) of every metric."""
    drawn = [(name, heat_map(runs, name)) for name in metric_names(runs)]
    return [(f"layers_{name}", caption(runs, name), figure) for name, figure in drawn if figure is not None]
