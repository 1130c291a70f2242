# SPDX-License-Identifier: Apache-2.0
"""braid-report depth: what a study of depth says of connections."""

import pathlib

from . import folders
from .page_command import render
from .trouble import Trouble

HELP = "How forms of residual connections hold with depth: a page with tables, plots and an answer in words."
EXAMPLE = "  braid-report depth runs/study --out runs/study/report"


def add_arguments(parser):
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="sweeps, or folders that hold such")
    parser.add_argument("--out", required=True, metavar="DIR", help="where depth.html and the plots go")
    parser.add_argument("--title", help="heading of the page")


def write(out, title, study):
    """depth.html and the plots; returns how many."""
    from . import depth_page, depth_plots, style  # noqa: F401  they load matplotlib, which style sets up

    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, caption, figure in depth_plots.all_figures(study):
        png = render(figure)
        (out / f"{name}.png").write_bytes(png)
        pictures.append((caption, png))
    (out / "depth.html").write_text(depth_page.page(title, study, pictures), encoding="utf-8")
    return len(pictures)


def run(options):
    from .depth_answer import answer
    from .depth_study import Study

    study = Study(folders.runs_in(options.folders, options.read_timeout))
    if not study.settings:
        raise Trouble(f"{', '.join(options.folders)}: no run says what it was configured as")
    out = pathlib.Path(options.out)
    try:
        pictures = write(out, options.title or "Residual connections and depth", study)
    except OSError as problem:
        raise Trouble(f"{out}: cannot be written: {problem.strerror or problem}") from problem
    said, limits = answer(study)
    print("\n".join([*said, *limits]))
    print(f"{out / 'depth.html'}: {len(study.runs)} runs, {pictures} plots")
    return 0
