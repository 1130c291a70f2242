# SPDX-License-Identifier: Apache-2.0
"""Which runs the given folders hold, and which ones a sweep expected there but are missing."""

import collections
import json
import pathlib

from .reading import READ_TIMEOUT, read_runs
from .runs import Run, whole_number
from .trouble import Trouble

VARIANTS = ["baseline", "hc", "mhc"]  # in tables these come first, in this order


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


def read_tree(root, read_timeout):
    """Folder → run, for every run at or below root and every one a sweep expected there."""
    runs = {run.folder: run for run in read_runs(below(root, "run.h5"), read_timeout)}
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


def collect(paths, read_timeout=READ_TIMEOUT):
    """All runs named by paths: run folders (or their run.h5), sweeps, or folders that hold such. Each run once."""
    places = [path.parent if path.name == "run.h5" else path for path in map(pathlib.Path, paths)]
    named = [place for place in places if (place / "run.h5").exists()]
    runs = {run.folder: run for run in read_runs(named, read_timeout)}
    for place in places:
        if place not in named:
            runs = {**read_tree(place, read_timeout), **runs}
    tell_apart(runs.values())
    return list(runs.values())


def variant_rank(variant):
    return (VARIANTS.index(variant) if variant in VARIANTS else len(VARIANTS), variant)


def runs_in(paths, read_timeout=READ_TIMEOUT):
    """The runs, by depth, variant, seed and name; Trouble where there is none."""
    for path in map(pathlib.Path, paths):
        if not path.exists():
            raise Trouble(f"{path}: no such folder")
        if not path.is_dir() and path.name != "run.h5":
            raise Trouble(f"{path}: neither a folder nor a run.h5")
    found = collect(paths, read_timeout)
    if not found:
        raise Trouble(f"{', '.join(map(str, paths))}: no run.h5 found")
    return sorted(found, key=lambda r: (r.depth is None, r.depth or 0, variant_rank(r.variant), r.seed or 0, r.name))
