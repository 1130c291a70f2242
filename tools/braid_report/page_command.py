# SPDX-License-Identifier: Apache-2.0
"""braid-report page: the plots and the page."""

import io
import pathlib

from . import folders
from .trouble import Trouble

HELP = "PNG plots and one self-contained HTML page from run folders; works on live, crashed and unfinished runs."
EXAMPLE = """  braid-report page runs/mhc_depth --out runs/mhc_depth/report
  braid-report page runs/a runs/b --out report --title "a and b\""""


def add_arguments(parser):
    parser.add_argument("folders", nargs="+", help="run folders, sweeps, or folders that hold such")
    parser.add_argument("--out", required=True, help="where report.html and the plots go")
    parser.add_argument("--title", help="heading of the page")


def render(figure):
    import matplotlib.pyplot as plt

    memory = io.BytesIO()
    figure.savefig(memory, format="png", dpi=150)
    plt.close(figure)
    return memory.getvalue()


def write(out, title, runs):
    """report.html and the plots; returns how many."""
    from . import page, plots  # they load matplotlib, which a wrong folder need not wait for

    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, caption, figure in plots.all_figures(runs):
        png = render(figure)
        (out / f"{name}.png").write_bytes(png)
        pictures.append((caption, png))
    (out / "report.html").write_text(page.page(title, runs, pictures), encoding="utf-8")
    return len(pictures)


def run(options):
    runs = folders.runs_in(options.folders, options.read_timeout)
    out = pathlib.Path(options.out)
    names = ", ".join(pathlib.Path(folder).resolve().name for folder in options.folders)
    try:
        pictures = write(out, options.title or f"Runs in {names}", runs)
    except OSError as problem:
        raise Trouble(f"{out}: cannot be written: {problem.strerror or problem}") from problem
    print(f"{out / 'report.html'}: {len(runs)} runs, {pictures} plots")
    return 0
