# SPDX-License-Identifier: Apache-2.0
"""Run folders as values: what each holds, how it ended, and which ones are missing. Never changes a file."""

import dataclasses
import json
import math
import pathlib
import time
import tomllib

import h5py
import numpy as np

SILENT_SECONDS = 60  # a live run's heartbeat is a few seconds old


@dataclasses.dataclass
class Run:
    """One run, or the place of one that is missing."""

    name: str
    depth: int | None = None
    variant: str = "?"
    seed: int | None = None
    state: str = "missing"  # missing, unreadable, running, silent, done, diverged, failed, stopped, preempted
    message: str = ""
    config_text: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    attributes: dict = dataclasses.field(default_factory=dict)
    last_step: int = -1
    planned_steps: int = 0
    train: np.ndarray | None = None
    eval: np.ndarray | None = None

    def column(self, name):
        """A column of /train, or None."""
        if self.train is None or name not in (self.train.dtype.names or ()) or len(self.train) == 0:
            return None
        return self.train[name]

    def first_bad_step(self):
        """The first step whose loss or logits were not finite, or None."""
        bad = self.column("nonfinite")
        if bad is None or not bad.any():
            return None
        return int(self.train["step"][np.argmax(bad != 0)])

    def final_loss(self):
        """Mean of the last ten losses; NaN when the run ended non-finite; None without rows."""
        loss = self.column("loss")
        return None if loss is None else float(np.mean(loss[-10:]))

    def final_eval_loss(self):
        if self.eval is None or len(self.eval) == 0:
            return None
        return float(self.eval["loss"][-1])

    def final(self, name):
        values = self.column(name)
        return None if values is None else float(values[-1])

    def tokens_per_second(self):
        """Median over the steps, the first two left out (they allocate)."""
        values = self.column("tokens_per_second")
        if values is None:
            return None
        return float(np.median(values[2:] if len(values) > 4 else values))

    def verdict(self):
        """How the run stands, in words."""
        bad = self.first_bad_step()
        if self.state == "running":
            words = f"running, step {self.last_step + 1} of {self.planned_steps}"
        elif self.state == "silent":
            words = f"crashed after step {self.last_step + 1} of {self.planned_steps}"
        elif self.state in ("missing", "done"):
            words = self.state
        else:
            words = f"{self.state}: {self.message}" if self.message else self.state
        return f"{words}; NaN from step {bad}" if bad is not None else words


def text(value):
    """A fixed-length UTF-8 cell or attribute as str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def open_readonly(path):
    """Live, crashed and finished files alike; no lock is taken."""
    try:
        return h5py.File(path, "r", swmr=True, locking=False)
    except OSError:
        return h5py.File(path, "r", locking=False)


def fill_from_config(run, config_text):
    run.config_text = config_text
    try:
        run.config = tomllib.loads(config_text)
    except tomllib.TOMLDecodeError:
        return
    model, train = run.config.get("model", {}), run.config.get("train", {})
    run.depth = model.get("layers", run.depth)
    residual = model.get("residual")
    if residual is not None:
        run.variant = "baseline" if residual == "residual" else residual
    run.seed = train.get("seed", run.seed)


def read_status(run, file):
    if "status" not in file:
        return
    row = file["status"][0]
    run.state, run.message = text(row["state"]), text(row["message"])
    run.last_step, run.planned_steps = int(row["last_step"]), int(row["planned_steps"])
    if run.state == "running" and time.time() - float(row["heartbeat"]) > SILENT_SECONDS:
        run.state = "silent"


def read_run(folder):
    """The run in a folder; one that cannot be read says why."""
    folder = pathlib.Path(folder)
    run = Run(name=folder.name)
    try:
        with open_readonly(folder / "run.h5") as file:
            run.attributes = {k: text(v) if isinstance(v, (bytes, str)) else v for k, v in file.attrs.items()}
            fill_from_config(run, run.attributes.get("config", ""))
            run.train = file["train"][:] if "train" in file else None
            run.eval = file["eval"][:] if "eval" in file else None
            read_status(run, file)
    except (OSError, KeyError, ValueError) as problem:
        run.state, run.message = "unreadable", str(problem).splitlines()[0]
    return run


def expected_runs(folder):
    """What sweep.json says there should be; [] where there is none."""
    path = pathlib.Path(folder) / "sweep.json"
    try:
        return json.loads(path.read_text()).get("runs", [])
    except (OSError, ValueError):
        return []


def apply_expectation(run, expected):
    """The sweep knows of a failure that the run's own file could not record."""
    if run.state in ("running", "silent", "unreadable", "missing") and expected.get("state") == "failed":
        run.state, run.message = "failed", expected.get("message", "")


def read_sweep(folder):
    runs = []
    for expected in expected_runs(folder):
        place = pathlib.Path(folder) / expected["name"]
        run = read_run(place) if (place / "run.h5").exists() else Run(name=expected["name"])
        if run.depth is None:
            run.depth, run.variant, run.seed = expected.get("depth"), expected.get("variant", "?"), expected.get("seed")
        apply_expectation(run, expected)
        runs.append(run)
    return runs


def collect(paths):
    """All runs named by paths: run folders, sweeps, or folders that hold such. Earlier attempts of a sweep are left out."""
    runs = []
    for path in map(pathlib.Path, paths):
        if (path / "run.h5").exists():
            runs.append(read_run(path))
        elif expected_runs(path):
            runs += read_sweep(path)
        else:
            found = sorted(p.parent for p in path.rglob("run.h5") if "attempts" not in p.parts)
            runs += [read_run(folder) for folder in found]
    return runs


def is_finite(value):
    return value is not None and math.isfinite(value)
