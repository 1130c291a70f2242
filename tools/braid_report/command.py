# SPDX-License-Identifier: Apache-2.0
"""braid-report: the command."""

import argparse
import io
import pathlib
import sys

import matplotlib.pyplot as plt

from . import page, plots, runs


class Trouble(Exception):
    """Wrong use: one line, exit code 2."""


def arguments(argv):
    parser = argparse.ArgumentParser(prog="braid-report", description="PNG plots and one self-contained HTML page from run folders; works on live, crashed and unfinished runs.")
    parser.add_argument("folders", nargs="+", help="run folders, sweeps, or folders that hold such")
    parser.add_argument("--out", required=True, help="where report.html and the plots go")
    parser.add_argument("--title", help="heading of the page")
    return parser.parse_args(argv)


def render(figure):
    memory = io.BytesIO()
    figure.savefig(memory, format="png", dpi=150)
    plt.close(figure)
    return memory.getvalue()


def report(options):
    for folder in options.folders:
        if not pathlib.Path(folder).is_dir():
            raise Trouble(f"{folder}: no such folder")
    found = runs.collect(options.folders)
    if not found:
        raise Trouble(f"{', '.join(options.folders)}: no run.h5 found")
    found.sort(key=lambda r: (r.depth or 0, plots.ORDER.index(r.variant) if r.variant in plots.ORDER else 9, r.seed or 0, r.name))
    out = pathlib.Path(options.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        pictures = []
        for name, caption, figure in plots.all_figures(found):
            png = render(figure)
            (out / f"{name}.png").write_bytes(png)
            pictures.append((caption, png))
        target = out / "report.html"
        title = options.title or f"Runs in {', '.join(pathlib.Path(f).name for f in options.folders)}"
        target.write_text(page.page(title, found, pictures), encoding="utf-8")
    except OSError as problem:
        raise Trouble(f"{out}: cannot be written: {problem.strerror}") from problem
    print(f"{target}: {len(found)} runs, {len(pictures)} plots")


def main(argv=None):
    try:
        report(arguments(argv))
    except Trouble as problem:
        print(f"braid-report: {problem}", file=sys.stderr)
        return 2
    return 0
