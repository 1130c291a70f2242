# SPDX-License-Identifier: Apache-2.0
"""How a variant looks, everywhere the same. Luminance, dashes and markers differ: a grey print reads as well."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402

from .folders import VARIANTS, variant_rank  # noqa: E402

STYLES = {
    "baseline": {"color": "#9c9c9c", "linestyle": "-", "marker": "o"},
    "hc": {"color": "#d62f2a", "linestyle": (0, (5, 1.5)), "marker": "s"},
    "mhc": {"color": "#10305e", "linestyle": (0, (7, 1.5, 1.5, 1.5)), "marker": "^"},
}
OTHER = {"color": "#dfa02b", "linestyle": (0, (1.2, 1.2)), "marker": "D"}
NAMES = {"hc": "HC", "mhc": "mHC", "?": "unknown"}
ORDER = VARIANTS

plt.rcParams.update({
    "font.size": 10, "axes.grid": True, "grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 10, "figure.titlesize": 12, "figure.titleweight": "bold", "legend.frameon": False,
    "agg.path.chunksize": 10000,  # curves of 100,000 noisy points otherwise overflow the rasteriser
    "figure.constrained_layout.use": True,
})


def style(variant):
    return STYLES.get(variant, OTHER)


def color(variant):
    return style(variant)["color"]


def label(variant):
    return NAMES.get(variant, variant)


def variants(runs):
    return sorted({run.variant for run in runs}, key=variant_rank)


def legend_below(figure, shown):
    """One entry a variant under the whole figure, where it covers nothing."""
    handles = [Line2D([], [], label=label(v), linewidth=1.8, markersize=5, **style(v)) for v in shown]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=4)
