# SPDX-License-Identifier: Apache-2.0
"""braid-report gist: what compressed contexts still answer, from the files of braid eval OUT --output."""

import pathlib
import sys

from . import gist_results, terminal
from .reading import Reader, Unreadable
from .table import render, wrapped
from .trouble import Trouble

HELP = "What compressed contexts still answer: tables here, heat maps and one self-contained page in --out."
EXAMPLE = """  braid-report gist runs/passkey/gist.h5 --out runs/passkey/report
  braid-report gist global.h5 korean.h5 steps.h5 --out report --title "Both languages"

Takes the files that braid eval OUT --output writes (one each, in this order); several checkpoints in one of them make
the curve of accuracy against step.
Exit codes: 0 done; 1 a file could not be read; 2 wrong use."""


def add_arguments(parser):
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of braid eval OUT --output")
    parser.add_argument("--out", help="where report.html and the plots go")
    parser.add_argument("--title", default="Gist tokens", help="heading of the page (default %(default)s)")


def read_all(paths, timeout):
    found, troubles = [], []
    with Reader(timeout) as reader:
        for path in map(pathlib.Path, paths):
            if not path.exists():
                raise Trouble(f"{path}: no such file")
            try:
                found.append(reader.call("braid_report.gist_results", "read_evaluation", path))
            except Unreadable as problem:
                troubles.append(f"{path}: cannot be read: {problem}")
    return found, troubles


def lines_of(evaluations, width, look):
    for each in evaluations:
        yield look.paint(each.title, "bold")
        for table in gist_results.tables(each):
            yield look.paint(table.title, "bold")
            yield from render(table.headings, table.rows, look, width, left=(0,))
            yield from ["", *(look.paint(line, "dim") for line in wrapped(look.plain(table.note), width)), ""]


def write_page(out, title, evaluations, troubles):
    from . import gist_page, gist_plots, page_command  # they load matplotlib

    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, caption, figure in gist_plots.all_figures(evaluations):
        png = page_command.render(figure)
        (out / f"{name}.png").write_bytes(png)
        pictures.append((caption, png))
    (out / "report.html").write_text(gist_page.page_of(title, evaluations, pictures, troubles), encoding="utf-8")
    return len(pictures)


def run(options):
    evaluations, troubles = read_all(options.files, options.read_timeout)
    look = terminal.prepare(sys.stdout)
    lines = [*lines_of(evaluations, terminal.size(sys.stdout)[0], look), *(look.paint(line, "red") for line in troubles)]
    if options.out:
        out = pathlib.Path(options.out)
        try:
            pictures = write_page(out, options.title, evaluations, troubles)
        except OSError as problem:
            raise Trouble(f"{out}: cannot be written: {problem.strerror or problem}") from problem
        lines.append(f"{out / 'report.html'}: {len(evaluations)} evaluations, {pictures} plots")
    print("\n".join(lines), flush=True)
    return 1 if troubles else 0
