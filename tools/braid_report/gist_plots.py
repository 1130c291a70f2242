# SPDX-License-Identifier: Apache-2.0
"""The pictures of a report on compressed contexts."""

import matplotlib.pyplot as plt
import numpy as np

from .style import color

TENTHS = [tenth / 10 for tenth in range(11)]
LENGTHS = 6  # rows at most where lengths are many
CAPTIONS = {
    "map": "Across: where the (first) statement stands in the context. Up: length of the context in tokens. In each cell "
           "the share of strict answers from gists, and right answers of all.",
    "systems": "Share of strict answers of each system, with Wilson's 95 % interval.",
    "steps": "Across: optimiser steps of the checkpoint. Up: share of strict answers from its gists, with Wilson's 95 % "
             "interval.",
}  # fmt: skip


def length_bins(lengths):
    """Edges that part different lengths, or some of as many answers each."""
    found = np.unique(lengths)
    if len(found) <= LENGTHS:
        return [(low, low) for low in found]
    cuts = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTHS + 1)).astype(int))
    return [(low, high - (i + 2 < len(cuts))) for i, (low, high) in enumerate(zip(cuts, cuts[1:]))]


def cells_of(answers):
    """(length bins, depths, right [length, depth], of [length, depth]): the depths that were asked for, else tenths."""
    placed = [row for row in answers if np.isfinite(row["depth"])]
    depths = sorted({row["depth"] for row in placed}) or TENTHS
    answers = placed or answers
    bins = length_bins(np.array([row["tokens"] for row in answers]))
    right, of = np.zeros((len(bins), len(depths))), np.zeros((len(bins), len(depths)))
    for row in answers:
        line = next(i for i, (low, high) in enumerate(bins) if low <= row["tokens"] <= high)
        column = int(np.abs(np.array(depths) - (row["depth"] if placed else row["at"])).argmin())
        of[line, column] += 1
        right[line, column] += row["right"]
    return bins, depths, right, of


def heat_map(each, suite):
    """None where depths are unknown."""
    answers = [row for row in each.answers if row["system"] == "gist" and row["suite"] == suite and np.isfinite(row["at"])]
    if not answers or len({row["step"] for row in answers}) > 1:
        return None
    bins, depths, right, of = cells_of(answers)
    share = np.divide(right, of, out=np.full_like(of, np.nan), where=of > 0)
    figure, axes = plt.subplots(figsize=(9.2, 0.62 * len(bins) + 1.9))
    image = axes.imshow(share, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto", origin="lower")
    for line, column in zip(*np.nonzero(of)):
        words = f"{100 * share[line, column]:.0f} %\n{int(right[line, column])}/{int(of[line, column])}"
        axes.text(column, line, words, ha="center", va="center", fontsize=7.5,
                  color="black" if 0.15 < share[line, column] < 0.85 else "white")
    axes.set_xticks(range(len(depths)), [f"{100 * depth:.0f} %" for depth in depths])
    axes.set_yticks(range(len(bins)), [f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high in bins])
    axes.grid(visible=False)
    axes.set_xlabel("depth")
    axes.set_ylabel("context (tokens)")
    figure.colorbar(image, label="strict")
    figure.suptitle(f"{each.path.stem}: {suite}, gist")
    return figure


def systems(each):
    """None where there is one step of one system alone."""
    rows = [row for row in each.anywhere() if row["suite"] == each.scores[0]["suite"]]
    if len({row["system"] for row in rows}) < 2:
        return None
    figure, axes = plt.subplots(figsize=(7.6, 0.4 * len(rows) + 1.7))
    places = np.arange(len(rows))[::-1]
    share = np.array([row["share"] for row in rows])
    errors = 100 * np.array([[row["share"] - row["low"] for row in rows], [row["high"] - row["share"] for row in rows]]).clip(0)
    axes.barh(places, 100 * share, xerr=errors, color=color("mhc"), edgecolor="black", linewidth=0.5, height=0.65,
              error_kw={"elinewidth": 1, "capsize": 2.5, "ecolor": color("hc")})  # fmt: skip
    several = len({row["length"] for row in rows}) > 1
    axes.set_yticks(places, [f"{row['system']}, {row['length']:,}" if several else row["system"] for row in rows])
    for place, row in zip(places, rows):
        axes.annotate(f"{row['right']}/{row['of']}", (100 * row["high"], place), textcoords="offset points", xytext=(5, 0),
                      va="center", fontsize=8)  # fmt: skip
    axes.set_xlim(0, 112)
    axes.set_xlabel("strict answers (%)")
    axes.grid(axis="y", visible=False)
    axes.set_axisbelow(True)
    figure.suptitle(each.title)
    return figure


def steps(each):
    groups = each.by_step()
    if not groups:
        return None
    figure, axes = plt.subplots(figsize=(7.2, 4.2))
    for (suite, length), rows in groups.items():
        rows = sorted(rows, key=lambda row: row["step"])
        at, share = [row["step"] for row in rows], [100 * row["share"] for row in rows]
        axes.plot(at, share, marker="o", markersize=4, label=f"{suite}, {length:,} tokens")
        axes.fill_between(at, [100 * row["low"] for row in rows], [100 * row["high"] for row in rows], alpha=0.2)
    axes.set_ylim(-2, 102)
    axes.set_xlabel("step")
    axes.set_ylabel("strict answers (%)")
    axes.legend()
    figure.suptitle(f"{each.path.stem}: accuracy against step")
    return figure


def all_figures(evaluations):
    """(file name, caption, figure) of every picture there is data for."""
    drawn = []
    for each in evaluations:
        suites = dict.fromkeys(row["suite"] for row in each.answers)
        found = [(f"map_{suite}", "map", heat_map(each, suite)) for suite in suites]
        found += [("systems", "systems", systems(each) if each.scores else None), ("steps", "steps", steps(each))]
        drawn += [(f"{each.path.stem}_{name}", CAPTIONS[kind], figure) for name, kind, figure in found if figure is not None]
    return drawn
