# SPDX-License-Identifier: Apache-2.0
"""Which runs the given folders hold, and which ones a sweep expected there but are missing."""

import collections
import json
import pathlib

from .runs import Run, read_run, whole_number


def expected_runs(folder):
    """Name → what sweep.json says of it; {} where there is none that can be read."""
    try:
        listed = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["runs"]
        return {str(entry["name"]): entry for entry in listed if isinstance(entry, dict) and "name" in entry}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def apply_expectation(run, entry):
    """The sweep knows what a run was to be, and of a failure that the run's own file could not record."""
    if run.depth is None:
        run.depth = whole_number(entry.get("depth"), None)
        run.variant = str(entry.get("variant", "?"))
        run.seed = whole_number(entry.get("seed"), None)
    if run.state in ("running", "silent", "unreadable", "missing") and entry.get("state") == "failed":
        run.state, run.message = "failed", str(entry.get("message", ""))


def below(root, file_name):
    """Folders at or under root that hold the file; a sweep's earlier attempts are no runs of their own."""
    found = (path.parent for path in sorted(root.rglob(file_name)))
    return [folder for folder in found if "attempts" not in folder.relative_to(root).parts]


def read_tree(root):
    """Folder → run, for every run at or below root and every one a sweep expected there."""
    runs = {folder.resolve(): read_run(folder) for folder in below(root, "run.h5")}
    for sweep in below(root, "sweep.json"):
        for name, entry in expected_runs(sweep).items():
            place = (sweep / name).resolve()
            run = runs.setdefault(place, Run(name=name, folder=place))
            apply_expectation(run, entry)
    return runs


def tell_apart(runs):
    """Runs of the same name get their parent folder's name in front."""
    counts = collections.Counter(run.name for run in runs)
    for run in runs:
        if counts[run.name] > 1:
            run.name = f"{run.folder.parent.name}/{run.name}"


def collect(paths):
    """All runs named by paths: run folders (or their run.h5), sweeps, or folders that hold such. Each run once."""
    runs = {}
    for path in map(pathlib.Path, paths):
        folder = path.parent if path.name == "run.h5" else path
        if (folder / "run.h5").exists():
            runs.setdefault(folder.resolve(), read_run(folder))
        else:
            runs = {**read_tree(folder), **runs}
    tell_apart(runs.values())
    return list(runs.values())
