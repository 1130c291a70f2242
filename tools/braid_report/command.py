# SPDX-License-Identifier: Apache-2.0
"""braid-report: the command."""

import argparse
import io
import pathlib
import sys

import matplotlib.pyplot as plt

from . import folders, page, plots, style


class Trouble(Exception):
    """Wrong use: one line, exit code 2."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Trouble(message)


def arguments(argv):
    parser = Parser(prog="braid-report", description="PNG plots and one self-contained HTML page from run folders; "
                    "works on live, crashed and unfinished runs.")  # fmt: skip
    parser.add_argument("folders", nargs="+", help="run folders, sweeps, or folders that hold such")
    parser.add_argument("--out", required=True, help="where report.html and the plots go")
    parser.add_argument("--title", help="heading of the page")
    return parser.parse_args(argv)


def runs_in(paths):
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise Trouble(f"{path}: no such folder")
        if not path.is_dir() and path.name != "run.h5":
            raise Trouble(f"{path}: neither a folder nor a run.h5")
    found = folders.collect(paths)
    if not found:
        raise Trouble(f"{', '.join(paths)}: no run.h5 found")
    return sorted(found, key=lambda r: (r.depth is None, r.depth or 0, style.rank(r.variant), r.seed or 0, r.name))


def render(figure):
    memory = io.BytesIO()
    figure.savefig(memory, format="png", dpi=150)
    plt.close(figure)
    return memory.getvalue()


def write(out, title, runs):
    """report.html and the plots; returns how many."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, caption, figure in plots.all_figures(runs):
        png = render(figure)
        (out / f"{name}.png").write_bytes(png)
        pictures.append((caption, png))
    (out / "report.html").write_text(page.page(title, runs, pictures), encoding="utf-8")
    return len(pictures)


def report(options):
    runs = runs_in(options.folders)
    out = pathlib.Path(options.out)
    names = ", ".join(pathlib.Path(folder).resolve().name for folder in options.folders)
    try:
        pictures = write(out, options.title or f"Runs in {names}", runs)
    except OSError as problem:
        raise Trouble(f"{out}: cannot be written: {problem.strerror or problem}") from problem
    print(f"{out / 'report.html'}: {len(runs)} runs, {pictures} plots")


def main(argv=None):
    try:
        report(arguments(argv))
    except Trouble as problem:
        print(f"braid-report: {problem}", file=sys.stderr)
        return 2
    return 0
