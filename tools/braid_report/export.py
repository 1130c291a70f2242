# SPDX-License-Identifier: Apache-2.0
"""braid-report export: a table as CSV, or the training steps as JSON lines."""

import contextlib
import csv
import json
import math
import os
import pathlib
import sys

import numpy as np

from . import folders, runs
from .reading import Reader, Unreadable
from .trouble import Failure, Trouble

HELP = "Writes a table of run files as CSV, or the training steps as JSON lines, one object a step."
EXAMPLE = """  braid-report export runs/a > a.csv
  braid-report export runs/a --table eval --out eval.csv
  braid-report export runs/a --layers gain_proxy_log10_max_entry --out gain.csv
  braid-report export runs/mhc_depth --format jsonl --out exported

NaN and infinite values are NaN, inf and -inf in CSV, null in JSON."""

# JSON key → column of /train and its type; the keys and their order are those of a public program's metrics.jsonl
FIELDS = {"step": ("step", int), "loss": ("loss", float), "grad_norm": ("grad_norm", float),
          "nan_or_inf": ("nonfinite", int), "nan_or_inf_total": ("nonfinite_total", int),
          "gain_proxy_log10_max_entry": ("gain_proxy_log10_max_entry", float),
          "elapsed_sec": ("elapsed_seconds", float)}  # fmt: skip


def add_arguments(parser):
    parser.add_argument("folders", nargs="+", help="run folders, sweeps, or folders that hold such")
    parser.add_argument("--format", choices=["csv", "jsonl"], default="csv", help="default %(default)s")
    parser.add_argument("--out", help="file to write, or folder for a file a run; without it one run goes to stdout")
    content = parser.add_mutually_exclusive_group()
    content.add_argument("--table", metavar="NAME", help="train (default), eval, events, sessions, ranks, environment or status")
    content.add_argument("--layers", metavar="NAME", help="a metric of every layer, as rows of step, layer and value")


def read_table(folder, name):
    """In the child process: the rows of /name."""
    with runs.open_readonly(pathlib.Path(folder) / "run.h5") as file:
        table = runs.read_table(file, name, runs.rows.end_of_file(file))
        if table is None:
            there = ", ".join(sorted(key for key, value in file.items() if getattr(value, "dtype", None)))
            raise Unreadable(f"has no table '{name}'; there are: {there or 'none'}")
        return table


def read_layers(folder, name):
    """In the child process: step, layer and value of every entry."""
    with runs.open_readonly(pathlib.Path(folder) / "run.h5") as file:
        metrics = runs.read_layers(file, runs.rows.end_of_file(file))
    if name not in metrics:
        raise Unreadable(f"has no layer metric '{name}'; there are: {', '.join(sorted(metrics)) or 'none'}")
    metric = metrics[name]
    table = np.empty(metric.values.shape, [("step", "i8"), ("layer", "i8"), ("value", "f8")])
    table["step"], table["layer"], table["value"] = metric.steps[:, None], metric.axis[None, :], metric.values
    return table.ravel()


def plain(value):
    """A cell of CSV: numbers as short as they can be read back exactly."""
    if isinstance(value, bytes):
        return runs.text(value)
    return {"nan": "NaN"}.get(repr(value), repr(value)) if isinstance(value, float) else value


def write_csv(table, stream):
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.dtype.names)
    writer.writerows([plain(value) for value in row] for row in table.tolist())


def json_value(value, kind):
    return kind(value) if math.isfinite(value) else None


def write_jsonl(table, stream):
    """Columns that the run does not have are null."""
    for row in table:
        line = {key: json_value(row[column], kind) if column in table.dtype.names else None
                for key, (column, kind) in FIELDS.items()}  # fmt: skip
        stream.write(json.dumps(line, allow_nan=False) + "\n")


def write(options, table, stream):
    (write_jsonl if options.format == "jsonl" else write_csv)(table, stream)


def write_file(options, table, path):
    """Under another name first: an interrupted export leaves no half file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "w", encoding="utf-8", newline="") as stream:
            write(options, table, stream)
        os.replace(temporary, path)
    except OSError as problem:
        raise Trouble(f"{path}: cannot be written: {problem.strerror or problem}") from problem
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def file_name(options, run):
    what = options.layers or options.table
    return run.name.replace("/", "-") + (f"-{what}" if what not in (None, "train") else "") + f".{options.format}"


def export_all(options, found, target):
    """Writes what can be read; the complaints about the rest. target: run → path, or None for stdout."""
    wanted = ("read_layers", options.layers) if options.layers else ("read_table", options.table or "train")
    complaints = []
    with Reader(options.read_timeout) as reader:
        for run in found:
            try:
                if run.state in ("missing", "unreadable"):
                    raise Unreadable(run.message or "missing")
                table = reader.call("braid_report.export", wanted[0], run.folder, wanted[1])
            except Unreadable as problem:
                complaints.append(f"{run.name}: {problem}")
                continue
            path = target(run)
            write(options, table, sys.stdout) if path is None else write_file(options, table, path)
            print(*[f"{path}: {len(table)} rows"] if path else [], file=sys.stderr, end="\n" if path else "")
    return complaints


def run(options):
    if options.format == "jsonl" and (options.layers or options.table not in (None, "train")):
        raise Trouble("--format jsonl has the training steps only; use --format csv with --table or --layers")
    found = folders.runs_in(options.folders, options.read_timeout)
    out = None if options.out is None else pathlib.Path(options.out)
    if len(found) > 1 and (out is None or (out.exists() and not out.is_dir())):
        raise Trouble(f"{len(found)} runs need --out with a folder, into which each is written as a file of its own")
    into_folder = out is not None and (len(found) > 1 or out.is_dir())
    sys.stdout.reconfigure(encoding="utf-8", newline="")
    complaints = export_all(options, found, lambda one: out / file_name(options, one) if into_folder else out)
    if complaints:
        raise Failure("; ".join(complaints))
    return 0
