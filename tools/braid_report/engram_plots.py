# SPDX-License-Identifier: Apache-2.0
"""The pictures of an Engram report."""

import matplotlib.pyplot as plt
import numpy as np

from .engram_published import PUBLISHED
from .engram_results import KINDS, LOGGED, MODELS, shown_singly
from .engram_tables import group_names, seed_groups
from .style import OTHER

CATEGORIES = 12  # as many as change most
NAMED = 8  # curves that have a name and a look of their own
LOOKS = {"base": {"color": "#b5b5b5", "label": "base"}, "tuned": {"color": "#4a7ab8", "label": "tuned"}}
WHISKER = {"elinewidth": 1, "capsize": 2.5, "ecolor": "#222222"}
PUBLIC = {model: {"marker": "D", "markerfacecolor": "white", "markeredgecolor": color, "ecolor": color,
                  "markersize": 4.5, "linestyle": "none", "elinewidth": 1.2, "capsize": 2.5, "label": f"public, {model}"}
          for model, color in (("base", "#8a8a8a"), ("tuned", "#d62f2a"))}  # fmt: skip
LANES = {"base": 0.2, "tuned": -0.2}
LANES_BESIDE_PUBLIC = {"base": 0.3, "tuned": 0.02}
PUBLIC_LANES = {"base": -0.22, "tuned": -0.37}
CURVES = [{"color": color, "linestyle": dashes} for color, dashes in (
    ("#10305e", "-"), ("#d62f2a", (0, (5, 1.5))), ("#dfa02b", (0, (7, 1.5, 1.5, 1.5))), ("#3c8d5a", (0, (1.2, 1.2))),
    ("#8a63b8", "-"), ("#5aa7c7", (0, (5, 1.5))), ("#7a4a21", (0, (7, 1.5, 1.5, 1.5))),
    ("#777777", (0, (1.2, 1.2))))]  # fmt: skip
CAPTIONS = {
    "accuracy": "Across: share of answers that begin with what is expected, with Wilson's 95 % interval. Diamonds below: "
                "what the public experiment got by the same recipe, with its own base model and patterns. Where "
                "intervals overlap much the difference may be chance.",
    "seen": "As above, by what was trained on: the prompt itself, the same behind another opening, or neither. Only the "
            "last is generalisation.",
    "seeds": "A row for each setting, that is for runs that differ in train.seed only. Across: share of answers that "
             "begin with what is expected.",
    "losses": f"Across: optimiser steps. Up: loss in nats per trained token; thin: each step, thick: mean over {LOGGED} "
              "steps. Right: the same on held-out examples. Levels compare only where the same tokens are trained on "
              "(in ours the answers alone).",
    "latency": "Across: milliseconds for an answer, one prompt at a time: mean of prefill (up to the first new token) "
               "and of decode. Bar across: median; dot: 95th percentile of both together.",
    "categories": "Across: share of right answers (prefix match) in the categories that changed most, at most "
                  f"{CATEGORIES}; at the right the change in points and how many items there are. A category has few "
                  "items: one answer moves it much.",
}  # fmt: skip


def literal(words):
    """No mathematics in names that come from files."""
    return words.replace("$", r"\$")


def rows_of(count):
    """Places of `count` rows, the first on top."""
    return np.arange(count)[::-1].astype(float)


def errors(shares):
    """Distances from the shares to their intervals' ends, in percent."""
    return 100 * np.array([[s.value - s.low for s in shares], [s.high - s.value for s in shares]]).clip(0)


def draw_shares(axes, evaluations, items, lanes=LANES, write=True):
    """Two bars a row."""
    height = 0.9 * (lanes["base"] - lanes["tuned"])
    for model in MODELS:
        found = [(place + lanes[model], share) for place, each in zip(rows_of(len(evaluations)), evaluations)
                 if (share := each.share(model, items=items)) is not None and share.of]  # fmt: skip
        if not found:
            continue
        places, shares = zip(*found)
        axes.barh(places, [100 * s.value for s in shares], height=height, xerr=errors(shares), edgecolor="black",
                  linewidth=0.5, error_kw=WHISKER, **LOOKS[model])  # fmt: skip
        for place, share in found if write else []:
            axes.annotate(f"{100 * share.value:.1f} %", (100 * share.high, place), textcoords="offset points",
                          xytext=(5, 0), va="center", fontsize=8)  # fmt: skip


def draw_public(axes, evaluations):
    for place, each in zip(rows_of(len(evaluations)), evaluations):
        said = PUBLISHED.get(each.protocol)
        for model, share in (("base", said.base), ("tuned", said.tuned)) if said else ():
            axes.errorbar(100 * share.value, place + PUBLIC_LANES[model], xerr=errors([share]), **PUBLIC[model])


def name_rows(axes, names):
    axes.set_yticks(rows_of(len(names)), [literal(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.set_axisbelow(True)


def legend_of(figure, axes):
    found = dict(zip(*reversed(axes.get_legend_handles_labels())))
    if found:
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=4)


def accuracy(evaluations):
    compared = any(each.protocol in PUBLISHED for each in evaluations)
    figure, axes = plt.subplots(figsize=(7.6, (0.95 if compared else 0.7) * len(evaluations) + 1.7))
    draw_shares(axes, evaluations, "all", LANES_BESIDE_PUBLIC if compared else LANES)
    draw_public(axes, evaluations)
    name_rows(axes, [each.title for each in evaluations])
    axes.set_xlim(0, min(112, 1.15 * axes.get_xlim()[1]))
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= 100])
    axes.set_xlabel("right answers (%)")
    legend_of(figure, axes)
    figure.suptitle("Accuracy, base and tuned")
    return figure


def seen(evaluations):
    """None where nothing is told apart."""
    asked = {kind: [share.of for each in evaluations if (share := each.share("base", items=kind)) and share.of]
             for kind in KINDS}  # fmt: skip
    kinds = [kind for kind in KINDS if asked[kind]]
    if not kinds:
        return None
    size = max(6, 3.6 * len(kinds)), 0.65 * len(evaluations) + 1.7
    figure, all_axes = plt.subplots(1, len(kinds), figsize=size, sharey=True, squeeze=False)
    for axes, kind in zip(all_axes[0], kinds):
        draw_shares(axes, evaluations, kind, write=False)
        axes.set_title(f"{kind} (of {', '.join(map(str, sorted(set(asked[kind]))))})")
        axes.set_xlim(0, 102)
        axes.set_xlabel("right answers (%)")
        name_rows(axes, [each.title for each in evaluations])
    legend_of(figure, all_axes[0][0])
    figure.suptitle("Accuracy by what was trained on")
    return figure


def smoothed(x, y):
    """Mean over the steps so far, at most LOGGED of them; a step that is not finite is left out."""
    windows = [y[max(0, i + 1 - LOGGED) : i + 1] for i in range(len(y))]
    finite = [window[np.isfinite(window)] for window in windows]
    return x, np.array([window.mean() if len(window) else np.nan for window in finite])


def draw_losses(axes, evaluations, table, looks):
    few = len(evaluations) <= NAMED
    for each in evaluations:
        curve = each.run.curve("loss", table)
        if curve is None:
            continue
        look = looks[each.name]
        if table == "train":
            axes.plot(*curve, linewidth=0.6, alpha=0.35 if few else 0.15, color=look["color"])
            curve = smoothed(*curve)
        axes.plot(*curve, linewidth=1.6 if few else 0.9, marker="o" if table == "eval" else None, markersize=3, **look)


def looks_of(evaluations):
    """By name: of few each has its own; of many, each protocol."""
    keys = [each.title if len(evaluations) <= NAMED else each.family or "others" for each in evaluations]
    places = list(dict.fromkeys(keys))
    known, looks = set(), {}
    for each, key in zip(evaluations, keys):
        looks[each.name] = CURVES[places.index(key) % len(CURVES)] | {"label": None if key in known else literal(key)}
        known.add(key)
    return looks


def losses(evaluations):
    trained = [each for each in evaluations if each.run is not None and each.run.curve("loss") is not None]
    if not trained:
        return None
    held_out = any(each.run.curve("loss", "eval") is not None for each in trained)
    tables = ["train", "eval"] if held_out else ["train"]
    figure, all_axes = plt.subplots(1, len(tables), figsize=(max(6.4, 4.8 * len(tables)), 4.2), squeeze=False)
    for axes, table in zip(all_axes[0], tables):
        draw_losses(axes, trained, table, looks_of(trained))
        axes.set_title({"train": "training", "eval": "held out"}[table])
        axes.set_xlabel("step")
        axes.set_ylim(0, 1.04 * axes.get_ylim()[1])
    all_axes[0][0].set_ylabel("nats/token")
    legend_of(figure, all_axes[0][0])
    figure.suptitle("Loss")
    return figure


def seeds(evaluations):
    """A row a setting: each seed's share, and their mean. None where no setting has several seeds."""
    groups = seed_groups(evaluations)
    if all(len(group) < 2 for group in groups):
        return None
    names = group_names(groups)
    figure, axes = plt.subplots(figsize=(7.6, 0.42 * len(groups) + 1.7))
    for place, group in zip(rows_of(len(groups)), groups):
        for model in MODELS:
            values = [100 * share.value for each, _ in group if (share := each.share(model)) and share.of]
            look = {"color": LOOKS[model]["color"], "linestyle": "none"}
            axes.plot(values, [place] * len(values), marker="o", markersize=5, alpha=0.6, label=f"{model}, a seed", **look)
            if values:
                axes.plot(np.mean(values), place, marker="|", markersize=16, markeredgewidth=2.2,
                          label=f"{model}, mean", **look)  # fmt: skip
    name_rows(axes, names)
    axes.set_xlim(-1, 101)
    axes.set_xlabel("right answers (%)")
    legend_of(figure, axes)
    figure.suptitle("Accuracy by setting, several seeds")
    return figure


def latency(evaluations):
    asked = [(each, model) for each in evaluations for model in MODELS if (model, "whole") in each.latency]
    if not asked:
        return None
    figure, axes = plt.subplots(figsize=(7.6, 0.36 * len(asked) + 1.7))
    for place, (each, model) in zip(rows_of(len(asked)), asked):
        at = 0.0
        for phase, color in (("prefill", OTHER["color"]), ("decode", "#10305e")):
            part = each.latency[model, phase].mean if (model, phase) in each.latency else 0
            axes.barh(place, part, left=at, height=0.6, color=color, edgecolor="black", linewidth=0.5,
                      label=f"{phase}, mean")  # fmt: skip
            at += part
        total = each.latency[model, "whole"]
        axes.plot(total.median, place, "|", color="#d62f2a", markersize=14, markeredgewidth=2, label="median")
        axes.plot(total.p95, place, "o", color="#d62f2a", markersize=4, label="95th percentile")
    name_rows(axes, [f"{each.title}, {model}" for each, model in asked])
    axes.set_xlim(left=0)
    axes.set_xlabel("ms")
    legend_of(figure, axes)
    figure.suptitle("Latency of an answer")
    return figure


def changed_most(evaluation):
    """The categories by size of change, the better ones first; none that stayed at 0."""
    there = [c for c in evaluation.categories if c.tuned_right is not None and (c.tuned_right or c.base_right)]
    return sorted(there, key=lambda c: (-abs(c.change), -c.change, c.name))[:CATEGORIES]


def categories(evaluation):
    """None where no category changed."""
    shown = changed_most(evaluation)
    if not any(c.change for c in shown):
        return None
    figure, axes = plt.subplots(figsize=(7.6, 0.42 * len(shown) + 1.6))
    for model, offset in LANES.items():
        values = [100 * (c.base_right if model == "base" else c.tuned_right) / c.of for c in shown]
        axes.barh(rows_of(len(shown)) + offset, values, height=0.36, edgecolor="black", linewidth=0.5, **LOOKS[model])
    for place, category in zip(rows_of(len(shown)), shown):
        axes.annotate(f"{100 * category.change:+.0f} (of {category.of})", (102, place), va="center", fontsize=8,
                      annotation_clip=False)  # fmt: skip
    name_rows(axes, [category.name for category in shown])
    axes.set_xlim(0, 100)
    axes.set_xlabel("right answers (%)")
    legend_of(figure, axes)
    figure.suptitle(f"Categories by change: {literal(evaluation.title)}")
    return figure


def file_name(words):
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in words)


def all_figures(evaluations):
    """(file name, caption, figure) of every picture that there is data for."""
    there = [each for each in evaluations if each.scores]
    made = {"losses": losses(evaluations)}
    if there:
        made = {"accuracy": accuracy(there), "seen": seen(there), "seeds": seeds(there), **made, "latency": latency(there)}
    drawn = [(name, CAPTIONS[name], figure) for name, figure in made.items() if figure is not None]
    for each in shown_singly(there):
        figure = categories(each)
        if figure is not None:
            drawn.append((f"categories_{file_name(each.name)}", CAPTIONS["categories"], figure))
    return drawn
