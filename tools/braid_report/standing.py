# SPDX-License-Identifier: Apache-2.0
"""Which runs there are to watch, those of a sweep that have not begun included, and how each stands."""

import collections
import dataclasses
import os
import pathlib
import re
import time

from .folders import expected_runs
from .runs import SILENT_SECONDS

ENDED = ("done", "diverged", "stopped", "preempted", "failed", "missing")


@dataclasses.dataclass
class Standing:
    """How one run stands; None where nothing is known."""

    name: str
    state: str
    message: str = ""
    steps_done: int = 0
    planned: int = 0
    loss: float | None = None
    held_out: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    heartbeat: float | None = None  # seconds since 1970
    course: list = dataclasses.field(default_factory=list)  # of the loss, oldest first

    @property
    def ended(self):
        return self.state in ENDED

    @property
    def heartbeat_age(self):
        return None if self.heartbeat is None else max(0.0, time.time() - self.heartbeat)

    @property
    def share(self):
        return self.steps_done / self.planned if self.planned > 0 else 0.0


def natural(path):
    """Sort key: 6l before 12l."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", str(path))]


def run_folders(root):
    """Folders at or below root that hold a run, and sweeps' folders. Runs are not searched, nor earlier attempts."""
    runs, sweeps, waiting = [], [], [pathlib.Path(root)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                entries = list(entries)
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if "run.h5" in names:
            runs.append(folder)
            continue
        if "sweep.json" in names:
            sweeps.append(folder)
        waiting += [pathlib.Path(e.path) for e in entries if e.name != "attempts" and e.is_dir(follow_symlinks=False)]
    return sorted(runs, key=natural), sorted(sweeps, key=natural)


def discover(paths):
    """Folder → what its sweep says of the run ({} without a sweep), in the order of the sweep, then of the names."""
    found = {}
    for path in map(pathlib.Path, paths):
        runs, sweeps = run_folders(path.parent if path.name == "run.h5" else path)
        for sweep in sweeps:
            for name, entry in expected_runs(sweep).items():
                found.setdefault((sweep / name).resolve(), entry)
        for folder in runs:
            found.setdefault(folder.resolve(), {})
    return found


def names_of(folders):
    counts = collections.Counter(folder.name for folder in folders)
    return [folder.name if counts[folder.name] == 1 else f"{folder.parent.name}/{folder.name}" for folder in folders]


def state_of(brief, entry):
    """(state, message), from the file and from the sweep, which knows of failures that the file could not record."""
    state, message, expected = brief["state"], brief.get("message", ""), entry.get("state")
    if state == "absent":
        state = "missing" if expected in ENDED else "starting" if expected in ("running", None) else "waiting"
    if state == "running" and time.time() - brief["heartbeat"] > SILENT_SECONDS:
        state = "lost"
    if expected == "failed" and (state == "missing" or state not in ENDED):
        state, message = "failed", str(entry.get("message", ""))
    return state, message


def standing_of(name, brief, entry):
    state, message = state_of(brief, entry)
    run = Standing(name, state, message, planned=brief.get("planned", 0), heartbeat=brief.get("heartbeat"))
    run.steps_done = max(brief.get("last_step", -1), brief.get("rows_step", -1)) + 1
    run.loss, run.held_out, run.course = brief.get("loss"), brief.get("held_out"), brief.get("course", [])
    run.tokens_per_second = brief.get("tokens_per_second")
    each = brief.get("seconds_per_step")
    if state == "running" and each is not None:
        run.seconds_left = each * max(0, run.planned - run.steps_done)
    return run


def standings(paths, reader):
    """How all runs stand now; folders that have appeared since the last time are among them."""
    found = discover(paths)
    folders = list(found)
    briefs = reader.read(folders)
    return [standing_of(*each) for each in zip(names_of(folders), briefs, found.values())]


def sign_of_life(paths, runs):
    """The latest heartbeat of a run, or change of a sweep, in seconds since 1970."""
    times = [run.heartbeat for run in runs if run.heartbeat is not None]
    for path in paths:
        try:
            times.append(os.stat(pathlib.Path(path) / "sweep.json").st_mtime)
        except OSError:
            pass
    return max(times, default=0.0)
