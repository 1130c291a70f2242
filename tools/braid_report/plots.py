# SPDX-License-Identifier: Apache-2.0
"""The pictures. One colour, dash and marker a variant, so that they also tell apart in greyscale."""

import math

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

STYLES = {
    "baseline": {"color": "#777777", "linestyle": "-", "marker": "o"},
    "hc": {"color": "#c1121f", "linestyle": "--", "marker": "s"},
    "mhc": {"color": "#1d3557", "linestyle": "-.", "marker": "^"},
}
OTHER = {"color": "#e09f3e", "linestyle": ":", "marker": "D"}
NAMES = {"hc": "HC", "mhc": "mHC"}
ORDER = ["baseline", "hc", "mhc"]

plt.rcParams.update({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False})


def style(variant):
    return STYLES.get(variant, OTHER)


def line_style(variant):
    return {k: v for k, v in style(variant).items() if k != "marker"}


def label(variant):
    return NAMES.get(variant, variant)


def depths(runs):
    return sorted({r.depth for r in runs if r.depth is not None})


def variants(runs):
    found = {r.variant for r in runs}
    return [v for v in ORDER if v in found] + sorted(found - set(ORDER))


def pick(runs, depth, variant):
    return [r for r in runs if r.depth == depth and r.variant == variant]


def spans_decades(series, decades=2):
    values = np.concatenate([s[np.isfinite(s) & (s > 0)] for s in series]) if series else np.array([])
    return len(values) > 0 and values.max() / values.min() > 10**decades


def draw_curves(axes, group, x_name, column, source="train"):
    """Curves of one (depth, variant): each seed thin and their mean strong, or the single one strong. Returns the values."""
    curves = []
    for run in group:
        table = run.train if source == "train" else run.eval
        if table is None or len(table) == 0 or column not in table.dtype.names:
            continue
        curves.append((table[x_name], table[column].astype(float)))
    variant = group[0].variant
    strong = len(curves) == 1
    for x, y in curves:
        axes.plot(x, y, linewidth=1.6 if strong else 0.7, alpha=1 if strong else 0.5, label=label(variant) if strong else None,
                  **line_style(variant))  # fmt: skip
        if not np.isfinite(y).any():
            axes.plot([], [], label=f"{label(variant)}: NaN from step {int(x[0])}", **line_style(variant))
    if len(curves) > 1:
        n = min(len(x) for x, _ in curves)
        mean = np.mean([y[:n] for _, y in curves], axis=0)
        axes.plot(curves[0][0][:n], mean, linewidth=1.8, label=f"{label(variant)} (mean of {len(curves)} seeds)", **line_style(variant))
    return [y for _, y in curves]


def mark_states(axes, runs_here):
    """What is not a curve: NaN from a step on, and runs that are missing."""
    notes = []
    for run in runs_here:
        bad = run.first_bad_step()
        if bad is not None:
            axes.axvline(bad, color=style(run.variant)["color"], linewidth=0.8, linestyle=":")
            notes.append(f"{label(run.variant)}: NaN from step {bad}")
        if run.state in ("missing", "failed", "unreadable"):
            notes.append(f"{label(run.variant)}: {run.state}")
        elif run.state == "silent":
            notes.append(f"{label(run.variant)}: crashed at step {run.last_step + 1}")
    for i, note in enumerate(dict.fromkeys(notes)):
        axes.text(0.98, 0.97 - 0.08 * i, note, transform=axes.transAxes, ha="right", va="top", fontsize=9,
                  bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5})  # fmt: skip


def panels(runs, column, title, ylabel, log=None, source="train", wanted=None):
    """One panel a depth, one curve a variant. None when no run has the column."""
    all_depths = depths(runs) or [None]
    figure, row = plt.subplots(1, len(all_depths), figsize=(max(5.4, 4.6 * len(all_depths)), 3.9), squeeze=False, sharey=True)
    series = []
    for axes, depth in zip(row[0], all_depths):
        for variant in wanted or variants(runs):
            group = pick(runs, depth, variant)
            if group:
                series += draw_curves(axes, group, "step", column, source)
        mark_states(axes, [r for r in runs if r.depth == depth and (wanted is None or r.variant in wanted)])
        axes.set_title(f"{depth} layers" if depth is not None else "")
        axes.set_xlabel("step")
    if not series:
        plt.close(figure)
        return None
    row[0][0].set_ylabel(ylabel)
    if log or (log is None and spans_decades(series)):
        row[0][0].set_yscale("log")
    finish_legend(figure, row[0])
    figure.suptitle(title)
    return figure


def finish_legend(figure, all_axes):
    handles = {}
    for axes in all_axes:
        for handle, text in zip(*axes.get_legend_handles_labels()):
            handles.setdefault(text, handle)
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=min(4, len(handles)), frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 0.98))


def with_streams(runs):
    return [v for v in variants(runs) if v != "baseline"]


def gain_by_depth(runs):
    """Final gain against depth, values written beside the points; NaN keeps its place."""
    wanted = [v for v in with_streams(runs) if any(r.variant == v and r.column("gain_proxy_log10_max_entry") is not None for r in runs)]
    if not wanted:
        return None
    figure, axes = plt.subplots(figsize=(6.2, 4.2))
    missing = 0
    for i, variant in enumerate(wanted):
        points = sorted((r.depth, r.final("gain_proxy_log10_max_entry")) for r in runs if r.variant == variant and r.final("gain_proxy_log10_max_entry") is not None)
        good = [(d, g) for d, g in points if math.isfinite(g)]
        axes.plot([d for d, _ in good], [g for _, g in good], label=label(variant), **style(variant))
        for d, g in good:
            axes.annotate(f"{g:.2f}", (d, g), textcoords="offset points", xytext=(4, 7 if i % 2 == 0 else -14), fontsize=9)
        for d, g in points:
            if not math.isfinite(g):
                axes.annotate(f"{label(variant)}: NaN", (d, 0), xycoords=("data", "axes fraction"), xytext=(0, 6 + 12 * missing),
                              textcoords="offset points", ha="center", fontsize=9, color=style(variant)["color"])  # fmt: skip
                missing += 1
    axes.axhline(0, color="black", linewidth=0.7)
    axes.set_xticks(depths(runs))
    axes.set_xlabel("layers")
    axes.set_ylabel("log10 of the largest entry")
    axes.margins(0.12)
    axes.legend(frameon=False)
    axes.set_title("Gain of all mixing matrices together, at the end")
    figure.tight_layout()
    return figure


def head_to_head(runs):
    """The deepest models: loss and gain side by side."""
    all_depths = depths(runs)
    if not all_depths:
        return None
    deepest = [r for r in runs if r.depth == all_depths[-1]]
    if len({r.variant for r in deepest}) < 2:
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.1))
    series = []
    for variant in variants(deepest):
        group = pick(deepest, all_depths[-1], variant)
        series += draw_curves(left, group, "step", "loss")
        if variant != "baseline":
            draw_curves(right, group, "step", "gain_proxy_log10_max_entry")
    if not series:
        plt.close(figure)
        return None
    if spans_decades(series):
        left.set_yscale("log")
    mark_states(left, deepest)
    right.axhline(0, color="black", linewidth=0.7)
    left.set_ylabel("training loss (nats/token)")
    right.set_ylabel("log10 of the largest entry")
    left.set_xlabel("step")
    right.set_xlabel("step")
    finish_legend(figure, [left, right])
    figure.suptitle(f"The deepest models: {all_depths[-1]} layers")
    return figure


def throughput(runs):
    measured = [r for r in runs if r.tokens_per_second()]
    if not measured:
        return None
    figure, axes = plt.subplots(figsize=(7, 0.42 * len(measured) + 1.3))
    places = np.arange(len(measured))[::-1]
    for place, run in zip(places, measured):
        axes.barh(place, run.tokens_per_second(), color=style(run.variant)["color"])
        axes.text(run.tokens_per_second(), place, f" {run.tokens_per_second():,.0f}", va="center", fontsize=9)
    axes.set_yticks(places, [r.name for r in measured])
    axes.set_xlabel("tokens/s, median over the steps")
    axes.margins(x=0.15)
    axes.grid(axis="y", visible=False)
    axes.set_title("Throughput, all ranks together")
    figure.tight_layout()
    return figure


def all_figures(runs):
    """(file name, caption, figure) of every picture the runs have data for."""
    streams = with_streams(runs)
    made = [
        ("loss", "Training loss over steps, in nats per token, mean over all ranks before each update.",
         panels(runs, "loss", "Training loss", "nats/token")),
        ("eval", "Loss on held-out samples, in nats per token.",
         panels(runs, "loss", "Held-out loss", "nats/token", source="eval")),
        ("grad_norm", "2-norm of the whole gradient, before clipping; logarithmic.",
         panels(runs, "grad_norm", "Gradient norm", "2-norm", log=True)),
        ("gain", "log10 of the largest entry of the product of all stream-mixing matrices: above 0 signals can grow. For a "
         "product of doubly stochastic matrices it tends to -log10(streams) whatever was learnt.",
         panels(runs, "gain_proxy_log10_max_entry", "Gain", "log10 of the largest entry", log=False, wanted=streams) if streams else None),
        ("amax_gain", "Largest absolute row sum of the same product (forward gain, ideal 1).",
         panels(runs, "amax_gain_forward", "Forward gain", "largest row sum", wanted=streams) if streams else None),
        ("nonfinite", "Steps so far whose loss or logits were NaN or infinite.",
         panels(runs, "nonfinite_total", "Non-finite steps", "steps", log=False)),
        ("gain_by_depth", "The same gain at each run's last step, against depth.", gain_by_depth(runs)),
        ("head_to_head", "Loss and gain of the deepest models.", head_to_head(runs)),
        ("throughput", "Tokens per second, median over the steps without the first two.", throughput(runs)),
    ]  # fmt: skip
    return [(name, caption, figure) for name, caption, figure in made if figure is not None]
