# SPDX-License-Identifier: Apache-2.0
"""braid-report engram: what fine-tuning did to the answers of the Engram test, beside the public figures."""

import collections
import json
import pathlib
import sys

from . import engram_results, folders, terminal
from .compare import write_json
from .engram_json import as_json
from .engram_published import REMARK, sources
from .engram_tables import all_tables, in_order
from .reading import Reader, Unreadable
from .table import render, wrapped
from .terminal import printable
from .trouble import Trouble

HELP = "What fine-tuning did to the answers of the Engram test: tables here, plots and one self-contained page in --out."
EXAMPLE = """  braid-report engram runs/engram --out runs/engram/report
  braid-report engram runs/engram --json engram.json
  braid-report engram runs/base.h5 runs/tuned.h5

Finds every engram.h5 (braid eval engram --out) in the folders, and its run: the folder run beside it, or the one it is
in. The protocol is the file's attribute, else the name of its folder. Runs that differ in train.seed only are averaged.
Exit codes: 0 all could be read; 1 some could not (they are listed all the same); 2 wrong use."""


def add_arguments(parser):
    parser.add_argument("folders", nargs="+", metavar="FOLDER",
                        help="folders that hold evaluations (engram.h5), or such files")  # fmt: skip
    parser.add_argument("--out", help="where report.html and the plots go")
    parser.add_argument("--title", default="Engram", help="heading of the page (default %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write everything to FILE; with - only that, to the output")


def files_in(paths):
    """Evaluations named by paths or below them, each once; Trouble for a path that is not there."""
    found = {}
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise Trouble(f"{path}: no such folder")
        below = [folder / "engram.h5" for folder in folders.below(path, "engram.h5")] if path.is_dir() else [path]
        found.update(dict.fromkeys(one.resolve() for one in below))
    return list(found)


def runs_without(paths, files):
    """Run folders at or below the paths that no evaluation stands beside."""
    done = {path for file in files for path in (file.parent, file.parent / "run")}
    roots = [path for path in map(pathlib.Path, paths) if path.is_dir()]
    return sorted({folder.resolve() for root in roots for folder in folders.below(root, "run.h5")} - done)


def read_all(paths, timeout):
    files, found = files_in(paths), []
    with Reader(timeout) as reader:
        for file in files:
            try:
                found.append(reader.call("braid_report.engram_results", "read_evaluation", file))
            except Unreadable as problem:
                found.append(engram_results.missing(file, f"cannot be read: {problem}"))
        for folder in runs_without(paths, files):
            try:
                found.append(reader.call("braid_report.engram_results", "read_unevaluated", folder))
            except Unreadable as problem:
                found.append(engram_results.missing(folder / "engram.h5", f"its run cannot be read: {problem}"))
    return list(filter(None, found))


def tell_apart(evaluations):
    """Those of one name get their parent folder's in front; runs are called as their evaluations."""
    counts = collections.Counter(each.name for each in evaluations)
    for each in evaluations:
        if counts[each.name] > 1:
            each.name = "/".join(engram_results.place_of(each.path).parts[-2:])
        if each.run is not None:
            each.run.name = each.name


def evaluations_in(paths, timeout):
    found = read_all(paths, timeout)
    if not found:
        raise Trouble(f"{', '.join(map(str, paths))}: no engram.h5 found; braid eval engram --out writes one")
    tell_apart(found)
    return in_order(found)


def lines_of(evaluations, tables, width, look):
    """The report in the terminal."""
    for found in tables:
        yield look.paint(found.title, "bold")
        kinds, rows = zip(*((kind, [printable(cell) for cell in cells]) for kind, cells in found.rows))
        yield from render(found.headings, list(rows), look, width, left=(0,),
                          style_of=lambda row, _: ("dim",) if kinds[row] == "public" else ())  # fmt: skip
        yield from ["", *(look.paint(line, "dim") for line in wrapped(look.plain(found.note), width)), ""]
    told = sources({each.protocol for each in evaluations})
    for line in [REMARK, *told] if told else []:
        yield from (look.paint(part, "dim") for part in wrapped(look.plain(line), width))
    for line in engram_results.complaints(evaluations):
        yield from (look.paint(part, "red") for part in wrapped(look.plain(printable(line)), width))


def write_page(out, title, evaluations, tables):
    """report.html and the plots; returns how many."""
    from . import engram_page, engram_plots, page_command  # they load matplotlib

    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, caption, figure in engram_plots.all_figures(evaluations):
        png = page_command.render(figure)
        (out / f"{name}.png").write_bytes(png)
        pictures.append((caption, png))
    (out / "report.html").write_text(engram_page.page_of(title, evaluations, tables, pictures), encoding="utf-8")
    return len(pictures)


def written(options, evaluations, tables):
    """What was written, in a line."""
    out = pathlib.Path(options.out)
    try:
        pictures = write_page(out, options.title, evaluations, tables)
    except OSError as problem:
        raise Trouble(f"{out}: cannot be written: {problem.strerror or problem}") from problem
    return f"{out / 'report.html'}: {len(evaluations)} evaluations, {pictures} plots"


def unread(evaluations):
    damaged = ("cannot be read", "its run cannot")
    return any(each.message.startswith(damaged) or (each.run and each.run.state == "unreadable") for each in evaluations)


def run(options):
    evaluations = evaluations_in(options.folders, options.read_timeout)
    tables = all_tables(evaluations)
    if options.json:
        words = json.dumps(as_json(evaluations), indent=1, allow_nan=False) + "\n"
        if options.json != "-":
            write_json(words, options.json)
    said = written(options, evaluations, tables) if options.out else None
    if options.json != "-":
        look = terminal.prepare(sys.stdout)
        lines = lines_of(evaluations, tables, terminal.size(sys.stdout)[0], look)
        words = "\n".join([*lines, *filter(None, [said])]) + "\n"
    print(words, end="", flush=True)
    return 1 if unread(evaluations) else 0
