# SPDX-License-Identifier: Apache-2.0
"""braid-report compare: what differs between runs, how they ended, and where their losses part."""

import argparse
import json
import math
import pathlib
import re
import sys

from . import comparison, folders, terminal
from .comparison import SEED
from .table import render, wrapped
from .terminal import ABSENT, number, printable
from .trouble import Trouble

HELP = "What differs between runs, how they ended, mean and spread over seeds, and where their losses part."
EXAMPLE = """  braid-report compare runs/a runs/b
  braid-report compare runs/sweep --json sweep.json
  braid-report compare runs/fp32 runs/bf16 --tolerance 1e-3

Runs whose configurations are the same but for train.seed are a group. Losses are held against those of the first run
on the command line; where its group has a run of the same seed, against that one. Exit codes: 0 all runs could be
read; 1 some could not (they are listed all the same); 2 wrong use."""
BLOCKS_MOST = 2  # a table that needs more blocks than this is shown by value
SEED_IN_NAME = re.compile(r"[_.-]?s(?:eed)?[_-]?\d+$")
TITLES = {"loss": "loss", "held_out_loss": "held-out loss", "held_out_accuracy": "held-out accuracy",
          "grad_norm": "grad norm", "gain_proxy_log10_max_entry": "gain (log10)",
          "tokens_per_second": "tokens/s", "step_seconds": "step (ms)",
          "peak_memory_bytes": "peak memory (MiB)"}  # fmt: skip
SCALE = {"step_seconds": 1e3, "peak_memory_bytes": 1 / 2**20}
NOTHING = {"n": 0, "non_finite": 0}
DIGITS = {"tokens_per_second": 0, "step_seconds": 2, "peak_memory_bytes": 1}


def tolerance(words):
    try:
        value = float(words)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"'{words}' is no number of at least 0 and less than 1")
    return value


def add_arguments(parser):
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="run folders, sweeps, or folders that hold such")
    parser.add_argument("--tolerance", type=tolerance, default=0.0, metavar="T",
                        help="losses part when they differ by more than T of the larger (default 0: a bit)")  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="also write everything to FILE; with - only that, to the output")


def in_order(runs, paths):
    """By the command line's folders; the runs of one folder keep their order."""
    places = [(path.parent if path.name == "run.h5" else path).resolve() for path in map(pathlib.Path, paths)]

    def place(run):
        inside = (at for at, path in enumerate(places) if run.folder == path or path in run.folder.parents)
        return next(inside, len(places))

    return sorted(runs, key=place)


def value_words(key, value):
    if value is None:
        return ABSENT
    if key == "uncommitted_changes":
        return {0: "no", 1: "yes"}.get(value, "unknown")
    if key == "git_commit":
        return value[:10] + ("+" if value.endswith("+") else "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return printable(value if isinstance(value, str) else json.dumps(value)) or '""'


def metric_words(name, value):
    return number(None if value is None else value * SCALE.get(name, 1), DIGITS.get(name, 4))


def title_of(name):
    return TITLES.get(name, printable(name.replace("_", " ")))


def by_value(keys, tables, names, width, look):
    """For many runs: a key's values, and who has each."""
    for key in keys:
        yield look.paint(printable(key), "bold")
        owners = {}
        for name, table in zip(names, tables):
            owners.setdefault(value_words(key, table.get(key)), []).append(name)
        for value, who in sorted(owners.items(), key=lambda owner: len(owner[1]) > len(names) / 2):
            said = "all others" if len(who) > len(names) / 2 else ", ".join(who)
            count = f"{len(who)} run{'s' * (len(who) > 1)}"
            lines = wrapped(look.plain(f"{value} ({count}): {said}"), max(8, width - 4))
            yield from ["  " + lines[0], *("    " + line for line in lines[1:])]


def difference_table(title, keys, tables, names, width, look):
    yield look.paint(title, "bold")
    if not keys:
        yield "no difference" if len(tables) > 1 else "nothing to compare"
        return
    rows = [[printable(key), *(value_words(key, table.get(key)) for table in tables)] for key in keys]
    widest = max(terminal.width_of(cell) for row in rows for cell in row[1:])
    needed = sum(max(terminal.width_of(n), min(widest, 44)) + 2 for n in names)
    key_width = max(terminal.width_of(row[0]) for row in rows)
    if needed > BLOCKS_MOST * max(10, width - key_width):
        yield from by_value(keys, tables, names, width, look)
    else:
        yield from render(["", *names], rows, look, width)


def shown_metrics(all_runs):
    names = dict.fromkeys(name for each in all_runs for name in each.metrics)
    values = {name: [each.metrics[name] for each in all_runs if each.metrics.get(name) is not None] for name in names}
    present = [n for n in names if values[n] and not (n == "held_out_accuracy" and all(map(math.isnan, values[n])))]
    last = ["tokens_per_second", "step_seconds", "peak_memory_bytes"]
    return sorted(present, key=lambda n: last.index(n) if n in last else -1)


def final_table(all_runs, names, width, look):
    metrics = shown_metrics(all_runs)
    states = [comparison.state_of(each.run) for each in all_runs]
    rows = [[name, state, f"{each.run.steps_done()} of {each.run.planned_steps}" if each.config else ABSENT,
             *(metric_words(m, each.metrics.get(m)) for m in metrics)]
            for name, state, each in zip(names, states, all_runs)]  # fmt: skip

    def style(row, column):
        return (terminal.STATE_COLOURS.get(states[row], ""),) if column == 1 else ()

    yield look.paint("Final values", "bold")
    yield from render(["run", "state", "steps", *map(title_of, metrics)], rows, look, width,
                      left=(0, 1), style_of=style)  # fmt: skip


def group_name(members):
    """The names without their seeds where that leaves one, else the first and how many more."""
    bare = {SEED_IN_NAME.sub("", each.name) for each in members}
    return printable(bare.pop() if len(bare) == 1 else f"{members[0].name} +{len(members) - 1}")


def spread_words(name, spread, members):
    """Mean ± deviation; where some of the members have no finite value, how many have one."""
    if spread["n"] == 0:
        return "NaN" if spread["non_finite"] else ABSENT
    words = metric_words(name, spread["mean"])
    if spread["std"] is not None:
        scaled = spread["std"] * SCALE.get(name, 1)
        words += f" ± {scaled:.1e}" if 0 < scaled < 1e-3 else f" ± {metric_words(name, spread['std'])}"
    if spread["n"] < members:
        words += f" (n={spread['n']}" + (f", {spread['non_finite']} NaN)" if spread["non_finite"] else ")")
    return words


def spread_table(spreads, all_runs, width, look):
    if not spreads:
        return
    metrics = shown_metrics(all_runs)
    rows = [[group_name(s.members), str(len(s.members)),
             *(spread_words(m, s.metrics.get(m, NOTHING), len(s.members)) for m in metrics)]
            for s in spreads]  # fmt: skip
    yield ""
    yield look.paint(look.plain("Mean ± sample standard deviation over seeds (n of them)"), "bold")
    yield from render(["group", "n", *map(title_of, metrics)], rows, look, width, left=(0,))
    for left_out, why in (("repeated", "its seed is counted already"), ("unfinished", "it has fewer steps")):
        for each in (each for spread in spreads for each in getattr(spread, left_out)):
            yield f"not counted: {printable(each.name)} ({why})"


def parting_words(each):
    if each.common == 0:
        return "no common steps"
    if each.equal:
        return f"equal: same configuration, same losses, {each.common} steps"
    if each.step is None:
        longer = "" if each.lengths[0] == each.lengths[1] else f" (of {each.lengths[0]} and {each.lengths[1]})"
        return f"never, over {each.common} common steps{longer}"
    theirs, ours = each.losses
    digits = next((d for d in range(5, 17) if f"{theirs:.{d}g}" != f"{ours:.{d}g}"), 17)  # as many as tell them apart
    there, here = (f"{loss:#.{digits}g}" if math.isfinite(loss) else number(loss) for loss in (theirs, ours))
    return f"step {each.step}: {there} there, {here} here"


def parting_table(found, limit, width, look):
    if not found:
        return
    how = "by any bit" if limit == 0 else f"by more than {limit:g} of the larger"
    yield ""
    yield look.paint(f"Where losses part ({how})", "bold")
    rows = [[printable(each.run.name), printable(each.against.name), parting_words(each)] for each in found]
    yield from render(["run", "held against", "losses part at"], rows, look, width, most=width)
    if all(each.equal for each in found):
        yield look.paint("All runs are equal: one configuration, and the same losses at every step.", "green")


def unread(all_runs):
    return [each for each in all_runs if not each.config]


def report(all_runs, spreads, found, limit, width, look):
    """All lines of the comparison."""
    names = [printable(each.name) for each in all_runs]
    readable = [each for each in all_runs if each.config]
    known = [printable(each.name) for each in readable]
    configs, records = [each.config for each in readable], [each.records for each in readable]
    yield from difference_table("Configuration", comparison.differing(configs), configs, known, width, look)
    yield ""
    yield from difference_table("Records", comparison.differing_records(records), records, known, width, look)
    yield ""
    yield from final_table(all_runs, names, width, look)
    yield from spread_table(spreads, all_runs, width, look)
    yield from parting_table(found, limit, width, look)
    for each in unread(all_runs):
        words = f"{printable(each.name)}: {comparison.state_of(each.run)}"
        words += f": {printable(each.run.message)}" if each.run.message else ", without a configuration"
        yield from ["", *(look.paint(line, "red") for line in wrapped(look.plain(words), width))]


def strict(value):
    """What JSON has: no NaN, no infinity."""
    if isinstance(value, dict):
        return {str(key): strict(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(all_runs, spreads, found, limit):
    """Lists of values are in the order of "runs"; places in groups and partings count from 0 in it."""
    place = {id(each): at for at, each in enumerate(all_runs)}
    readable = [each for each in all_runs if each.config]

    config_keys = comparison.differing([each.config for each in readable])
    record_keys = comparison.differing_records([each.records for each in readable])

    return strict({
        "format": "braid-compare", "format_version": 1, "tolerance": limit,
        "runs": [{"name": each.name, "folder": str(each.run.folder), "state": comparison.state_of(each.run),
                  "message": each.run.message, "steps_done": each.run.steps_done(),
                  "planned_steps": each.run.planned_steps, "seed": each.seed, "config": each.config,
                  "records": each.records, "metrics": each.metrics} for each in all_runs],
        "differing_config": {key: [each.config.get(key) for each in all_runs] for key in config_keys},
        "differing_records": {key: [each.records.get(key) for each in all_runs] for key in record_keys},
        "groups": [{"name": group_name(s.members), "runs": [place[id(each)] for each in s.members],
                    "repeated": [place[id(each)] for each in s.repeated],
                    "unfinished": [place[id(each)] for each in s.unfinished], "metrics": s.metrics} for s in spreads],
        "partings": [{"run": place[id(each.run)], "against": place[id(each.against)], "step": each.step,
                      "common_steps": each.common, "losses": each.losses, "equal": each.equal} for each in found],
    })  # fmt: skip


def write_json(words, path):
    try:
        pathlib.Path(path).write_text(words, encoding="utf-8")
    except OSError as problem:
        raise Trouble(f"{path}: cannot be written: {problem.strerror or problem}") from problem


def run(options):
    runs = in_order(folders.runs_in(options.folders, options.read_timeout), options.folders)
    if len(runs) < 2:
        raise Trouble(f"{runs[0].folder}: only one run; at least two are compared")
    all_runs = [comparison.compared(each) for each in runs]
    groups = comparison.seed_groups(all_runs)
    spreads = list(filter(None, map(comparison.spread_of, groups)))
    found = comparison.partings(all_runs, groups, options.tolerance)
    if options.json:
        words = json.dumps(as_json(all_runs, spreads, found, options.tolerance), indent=1, allow_nan=False) + "\n"
        if options.json != "-":
            write_json(words, options.json)
    if options.json != "-":
        look = terminal.prepare(sys.stdout)
        lines = report(all_runs, spreads, found, options.tolerance, terminal.size(sys.stdout)[0], look)
        words = "\n".join(lines) + "\n"
    print(words, end="", flush=True)
    return 1 if any(each.state == "unreadable" for each in runs) else 0
