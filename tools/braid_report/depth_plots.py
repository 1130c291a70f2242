# SPDX-License-Identifier: Apache-2.0
"""The pictures of a study of depth."""

import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from .depth_study import largest
from .layers import HATCH, colour_range, edges
from .panels import depth_title

LOOKS = [{"color": color, "linestyle": dashes, "marker": marker} for color, dashes, marker in (
    ("#9c9c9c", "-", "o"), ("#d62f2a", (0, (1.2, 1.2)), "s"), ("#5aa7c7", (0, (1.2, 1.2)), "^"), ("#d62f2a", (0, (5, 1.5)), "s"),
    ("#10305e", "-", "^"), ("#3c8d5a", (0, (7, 1.5, 1.5, 1.5)), "D"), ("#dfa02b", "-", "v"), ("#8a63b8", (0, (5, 1.5)), "P"))]  # fmt: skip
MOST_MAPS = 6
ROUNDING = 0.01  # a map whose log10 gains stay within this of 0 is of one colour: less is rounding
CAPTIONS = {
    "depth_loss": "Across: layers, logarithmic. Up: held-out loss at the end of training in nats per token, mean over seeds; bars: "
                  "one standard deviation. A cross at the top: no run of the form there ended with a finite loss. Dotted: the loss "
                  "of guessing.",
    "depth_gain": "Across: layers, logarithmic. Up: largest Amax gain of any step and layer (no unit), logarithmic, of the worst "
                  "run; 1 is neutral. Left of a forward signal, right of a gradient. A cross at the top: NaN or infinite.",
    "depth_maps": "Across: optimiser steps. Up: mixing matrices, one a block in the poc form and two in the paper's. Colour: log10 of "
                  "the Amax gain of the product of all matrices up to there, forward; 0 is neutral. Hatched: NaN or infinite.",
    "depth_residual": "Across: how far into the network, 0 what enters and 1 what leaves. Up: root mean square of the residual (of "
                      "all streams) at the first step that was measured, logarithmic. A line ends where it is not finite.",
}  # fmt: skip


def looks(study):
    return {form: LOOKS[place % len(LOOKS)] | {"label": form} for place, form in enumerate(study.forms)}


def grid(count, size, share=True):
    columns = min(3, count)
    lines = math.ceil(count / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(size[0] * columns, size[1] * lines + 0.5), squeeze=False, sharex=share)
    for unused in axes.flat[count:]:
        unused.set_visible(False)
    return figure, list(axes.flat[:count])


def legend(figure, all_axes):
    found = {label: handle for axes in all_axes for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(found.values(), found.keys(), loc="outside lower center", handlelength=4,
                  ncols=max(1, min(len(found), int(figure.get_figwidth() / 2.4))))  # fmt: skip


def depth_axis(axes, depths):
    axes.set_xscale("log", base=2)
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.minorticks_off()
    axes.set_xlim(depths[0] / 1.25, depths[-1] * 1.25)
    axes.set_xlabel("layers")


def crosses_at_top(axes, depths, look, place):
    """One form's beside the others', so that they do not hide each other."""
    if not depths:
        return
    across = blended_transform_factory(axes.transData, axes.transAxes)
    look = {"color": look["color"], "marker": "X", "markersize": 8, "markeredgecolor": "white", "linestyle": "none"}
    axes.plot([depth * 1.04**place for depth in depths], [0.97] * len(depths), transform=across, clip_on=False, zorder=5, **look)


def draw_losses(axes, study, task, precision, seen):
    for place, form in enumerate(study.forms):
        groups = [g for g in study.of_form(form) if (g.setting.task, g.setting.precision) == (task, precision) and g.losses()]
        there = [g for g in groups if g.finite()]
        shift = 1.015 ** (place - len(study.forms) / 2)
        axes.errorbar([g.setting.depth * shift for g in there], [g.mean() for g in there], [g.deviation() or 0 for g in there],
                      linewidth=1.5, markersize=4.5, capsize=2.5, elinewidth=1, **seen[form])  # fmt: skip
        crosses_at_top(axes, [g.setting.depth for g in groups if not g.finite()], seen[form], place)


def depth_loss(study):
    from .depth_study import guessing, task_of

    tasks = [t for t in study.tasks() if any(g.finite() for g in study.groups.values() if (g.setting.task, g.setting.precision) == t)]
    if not tasks:
        return None
    figure, all_axes = grid(len(tasks), (4.4, 3.7))
    for axes, (task, precision) in zip(all_axes, tasks):
        draw_losses(axes, study, task, precision, looks(study))
        chance = guessing(next(run for run in study.readable if task_of(run) == task))
        if chance is not None:
            axes.axhline(chance, color="black", linewidth=0.8, linestyle=":")
        depth_axis(axes, study.depths)
        axes.set_title(f"{task.replace('_', ' ')}, {precision}")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.08 * (high - low))
    all_axes[0].set_ylabel("held-out loss (nats/token)")
    legend(figure, all_axes)
    figure.suptitle("Loss against depth")
    return figure


def worst(study, form, name):
    """depth → largest value of any run; NaN and infinity win."""
    found = {}
    for group in study.of_form(form):
        values = [value for run in group.runs if (value := largest(run, name)) is not None]
        found.setdefault(group.setting.depth, []).extend(values)
    return {depth: max(values, key=lambda v: math.inf if math.isnan(v) else v) for depth, values in found.items() if values}


def depth_gain(study):
    names = {"amax_gain_forward": "forward", "amax_gain_backward": "backward"}
    with_streams = [form for form in study.forms if any(worst(study, form, name) for name in names)]
    if not with_streams:
        return None
    figure, all_axes = grid(2, (4.8, 3.7))
    for axes, (name, title) in zip(all_axes, names.items()):
        axes.set_yscale("log")
        for place, form in enumerate(with_streams):
            values = worst(study, form, name)
            fine = [depth for depth, value in sorted(values.items()) if 0 < value < math.inf]
            axes.plot(fine, [values[depth] for depth in fine], linewidth=1.5, markersize=4.5, **looks(study)[form])
            crosses_at_top(axes, [depth for depth in values if depth not in fine], looks(study)[form], place)
        axes.axhline(1, color="black", linewidth=0.7)
        depth_axis(axes, study.depths)
        axes.set_title(title)
    all_axes[0].set_ylabel("largest Amax gain")
    legend(figure, all_axes)
    figure.suptitle("Gain against depth")
    return figure


def first_run(study, form, depth, name):
    """Of a form and depth the first run that has the metric."""
    runs = [run for group in study.of_form(form) if group.setting.depth == depth for run in group.runs]
    return next((run for run in runs if name in run.layers and run.layers[name].values.size), None)


def draw_map(axes, metric, values, limits):
    x, y = edges(metric.steps.astype(float)), edges(metric.axis.astype(float))
    axes.add_patch(Rectangle((x[0], y[0]), x[-1] - x[0], y[-1] - y[0], zorder=0.5, **HATCH))
    image = axes.pcolormesh(x, y, np.ma.masked_invalid(values.T), vmin=limits[0], vmax=limits[1], cmap="cividis",
                            rasterized=True, zorder=1)  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.grid(False)
    axes.set_xlabel("step")
    return image


def depth_maps(study):
    """The deepest runs, one of each form with streams; each map has a scale of its own: forms differ by orders of magnitude."""
    name, depth = "amax_gain_forward", study.depths[-1]
    drawn = [(form, run) for form in study.forms if (run := first_run(study, form, depth, name)) is not None][:MOST_MAPS]
    if not drawn:
        return None
    figure, all_axes = grid(len(drawn), (4.6, 3.6), share=False)
    broken = False
    for axes, (form, run) in zip(all_axes, drawn):
        metric = run.layers[name]
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log10(metric.values)
        finite = values[np.isfinite(values)]
        broken = broken or len(finite) < values.size
        low, high = colour_range([type(metric)(values, metric.steps, metric.axis)])
        image = draw_map(axes, metric, values, (min(low, -ROUNDING), max(high, ROUNDING)))
        axes.set_title(f"{form}\n{run.name}", fontsize=9)
        figure.colorbar(image, ax=axes, fraction=0.05)
    all_axes[0].set_ylabel("mixing matrix")
    if broken:
        figure.legend(handles=[Patch(label="NaN or infinite", **HATCH)], loc="outside lower center")
    figure.suptitle(f"Forward gain by layer and step (log10), {depth_title(depth)}")
    return figure


def depth_residual(study):
    name, depth = "residual_rms", study.depths[-1]
    drawn = [(form, run) for form in study.forms if (run := first_run(study, form, depth, name)) is not None]
    if not drawn:
        return None
    figure, axes = plt.subplots(figsize=(7, 4.2))
    axes.set_yscale("log")
    for form, run in drawn:
        values = run.layers[name].values[0]
        look = looks(study)[form]
        axes.plot(np.linspace(0, 1, len(values)), np.where(np.isfinite(values), values, np.nan), linewidth=1.6,
                  markersize=4.5, markevery=max(1, len(values) // 8), **look)  # fmt: skip
    axes.set_xlabel("share of the network passed")
    axes.set_ylabel("root mean square")
    legend(figure, [axes])
    figure.suptitle(f"Size of the residual at the start, {depth_title(depth)}")
    return figure


def all_figures(study):
    """(file name, caption, figure) of every picture that there is data for."""
    made = {"depth_loss": depth_loss, "depth_gain": depth_gain, "depth_maps": depth_maps, "depth_residual": depth_residual}
    drawn = [(name, CAPTIONS[name], make(study)) for name, make in made.items()]
    return [(name, caption, figure) for name, caption, figure in drawn if figure is not None]
