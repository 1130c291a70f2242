# SPDX-License-Identifier: Apache-2.0
"""One run as a value: what its run.h5 holds and how it ended. Tolerates what is absent; never changes a file."""

import dataclasses
import pathlib
import time
import tomllib

import numpy as np

from . import rows

SILENT_SECONDS = 60  # a live run's heartbeat is a few seconds old
UNREADABLE = (OSError, RuntimeError, KeyError, ValueError, IndexError, TypeError)  # what h5py raises on damaged files


@dataclasses.dataclass
class LayerMetric:
    """One metric of every layer at every step."""

    values: np.ndarray  # [step, layer], float64
    steps: np.ndarray
    axis: np.ndarray  # number of the layer, or of the place along depth
    unit: str = ""
    meaning: str = ""


@dataclasses.dataclass
class Run:
    """One run, or the place of one that is missing."""

    name: str
    folder: pathlib.Path | None = None
    depth: int | None = None
    variant: str = "?"
    seed: int | None = None
    state: str = "missing"  # missing, unreadable, unknown, silent, or as in /status: running, done, diverged, …
    message: str = ""
    config_text: str = ""
    config: dict = dataclasses.field(default_factory=dict)
    attributes: dict = dataclasses.field(default_factory=dict)
    last_step: int = -1
    planned_steps: int = 0
    train: np.ndarray | None = None
    eval: np.ndarray | None = None
    sessions: np.ndarray | None = None  # a row per start of the run
    ranks: np.ndarray | None = None
    environment: np.ndarray | None = None
    layers: dict = dataclasses.field(default_factory=dict)  # name → LayerMetric

    def column(self, name, table="train"):
        """A column of /train or /eval; None where it is absent or has no rows."""
        rows = getattr(self, table)
        if rows is None or len(rows) == 0 or name not in (rows.dtype.names or ()):
            return None
        return rows[name]

    def curve(self, name, table="train"):
        """(steps, values) in float64, or None."""
        x, y = self.column("step", table), self.column(name, table)
        return None if x is None or y is None else (x.astype(float), y.astype(float))

    def final(self, name, table="train"):
        values = self.column(name, table)
        return None if values is None else float(values[-1])

    def final_loss(self):
        """Mean of the last ten finite losses; NaN when none was finite; None without rows."""
        loss = self.column("loss")
        if loss is None:
            return None
        finite = loss[np.isfinite(loss)]
        return float(np.mean(finite[-10:])) if len(finite) else float("nan")

    def tokens_per_second(self):
        """Median over the steps, the first two left out (they allocate)."""
        values = self.column("tokens_per_second")
        if values is None:
            return None
        return float(np.median(values[2:] if len(values) > 2 else values))

    def steps_done(self):
        """Rows can be ahead of /status after a crash: they are written first."""
        steps = self.column("step")
        return max(self.last_step, int(steps[-1]) if steps is not None else -1) + 1

    def bad_steps(self):
        """Steps whose loss or logits were not finite."""
        steps, loss, flags = self.column("step"), self.column("loss"), self.column("nonfinite")
        if steps is None:
            return np.array([], dtype=int)
        bad = np.zeros(len(steps), bool)
        if loss is not None:
            bad |= ~np.isfinite(loss)
        if flags is not None:
            bad |= flags != 0
        return steps[bad]

    def nan_from(self):
        """The step from which on nothing was finite any more, or None for a run that is or became finite again."""
        steps, bad = self.column("step"), set(self.bad_steps().tolist())
        first = None
        for step in reversed(steps.tolist() if bad else []):
            if step not in bad:
                break
            first = step
        return first

    def non_finite_words(self):
        start, bad = self.nan_from(), self.bad_steps()
        passing = bad if start is None else bad[bad < start]
        words = [] if start is None else [f"NaN from step {start}"]
        if len(passing):
            words.append(f"{len(passing)} non-finite step{'s' * (len(passing) > 1)}, the first at {passing[0]}")
        return "; ".join(words)

    def verdict(self):
        """How the run stands, in words."""
        progress = f"step {self.steps_done()} of {self.planned_steps}"
        words = {"running": f"running, {progress}", "silent": f"crashed after {progress}"}.get(self.state, self.state)
        if self.state in ("stopped", "preempted"):
            words += f" after {progress}"
        words += f": {self.message}" if self.message else ""
        return "; ".join(filter(None, [words, self.non_finite_words()]))


def text(value):
    """A fixed-length UTF-8 cell or attribute as str."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def of_last_start(table):
    """The rows of /ranks or /environment that the run's last start wrote; all of older files, which had one start."""
    if table is None or len(table) == 0 or "session" not in table.dtype.names:
        return table
    return table[table["session"] == table["session"].max()]


def open_readonly(path):
    """Live, crashed and finished files alike; no lock is taken. Raises the first error: it says more."""
    import h5py  # here, because a process that has its files read by a child needs it nowhere else

    try:
        return h5py.File(path, "r", swmr=True, locking=False)
    except OSError as first:
        try:
            return h5py.File(path, "r", locking=False)
        except OSError:
            raise first from None


def table_of(config, key):
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def whole_number(value, default):
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def variant_of(residual):
    return "baseline" if residual == "residual" else str(residual)


def fill_from_config(run, config_text):
    run.config_text = config_text
    try:
        run.config = tomllib.loads(config_text)
    except tomllib.TOMLDecodeError:
        return
    model, train = table_of(run.config, "model"), table_of(run.config, "train")
    run.depth = whole_number(model.get("layers"), run.depth)
    run.variant = variant_of(model["residual"]) if "residual" in model else run.variant
    run.seed = whole_number(train.get("seed"), run.seed)
    run.planned_steps = whole_number(train.get("steps"), run.planned_steps)


def read_status(run, file):
    if "status" not in file or len(file["status"]) == 0:
        run.state = "unknown"
        return
    row = file["status"][0]
    run.state, run.message = text(row["state"]), text(row["message"])
    run.last_step, run.planned_steps = int(row["last_step"]), int(row["planned_steps"])
    if run.state == "running" and time.time() - float(row["heartbeat"]) > SILENT_SECONDS:
        run.state = "silent"


def read_table(file, name, end=None):
    """A compound table, or None where there is no such."""
    dataset = file.get(name)
    names = getattr(getattr(dataset, "dtype", None), "names", None)
    return rows.table(dataset, end) if names and dataset.ndim == 1 else None


def axis_of(metric):
    """The places of a layer metric's columns, from its dimension scale."""
    scales = metric.dims[1]
    return scales[0][:] if len(scales) else np.arange(metric.shape[1])


def read_layers(file, end=None):
    """Name → LayerMetric; rows that not every metric has yet are left out."""
    group = file.get("layers")
    if group is None or "step" not in group:
        return {}
    count, found = rows.layer_rows(group, end), {}
    for name, metric in group.items():
        if metric.ndim == 2:
            unit, meaning = (text(metric.attrs.get(key, "")) for key in ("unit", "meaning"))
            steps, axis = group["step"][:count], axis_of(metric)
            found[name] = LayerMetric(metric[:count].astype(float), steps, axis, unit, meaning)
    return found


def read_run(folder):
    """The run in a folder; one that cannot be read says why and keeps what could be read."""
    folder = pathlib.Path(folder)
    run = Run(name=folder.resolve().name, folder=folder.resolve())
    try:
        with open_readonly(folder / "run.h5") as file:
            run.attributes = {k: text(v) if isinstance(v, (bytes, str)) else v for k, v in file.attrs.items()}
            fill_from_config(run, str(run.attributes.get("config", "")))
            read_status(run, file)
            end = rows.end_of_file(file)
            for table in ("train", "eval", "sessions"):
                setattr(run, table, read_table(file, table, end))
            for table in ("ranks", "environment"):
                setattr(run, table, of_last_start(read_table(file, table, end)))
            run.layers = read_layers(file, end)
    except UNREADABLE as problem:
        run.state, run.message = "unreadable", (str(problem).splitlines() or [type(problem).__name__])[0]
    return run
