# SPDX-License-Identifier: Apache-2.0
"""How runs stand, read often and cheaply: the row of /status, the last of /eval, and those of /train that are new."""

import dataclasses
import math
import pathlib
import time

import numpy as np

from .reading import Reader, Unreadable
from .runs import UNREADABLE, open_readonly, text

FIRST_ROWS = 4096  # at most so many of a file met for the first time, and so many are kept
RATE_ROWS = 100  # over which the speed is taken
POINTS = 64  # of the course of the loss
RETRY_SECONDS = 60  # before a file that did not answer is asked again
WANTED = ("step", "loss", "tokens_per_second", "elapsed_seconds")


@dataclasses.dataclass
class Course:
    """What is known of one growing /train: rows of WANTED, NaN where the file lacks a column."""

    run_id: str = ""
    total: int = 0  # rows of the file that have been read or passed over
    rows: np.ndarray = dataclasses.field(default_factory=lambda: np.empty((0, len(WANTED))))

    def take(self, run_id, total, rows, anew):
        self.rows = np.concatenate([self.rows[:0] if anew else self.rows, rows])[-FIRST_ROWS:]
        self.run_id, self.total = run_id, total

    def column(self, name, last=FIRST_ROWS):
        values = self.rows[-last:, WANTED.index(name)]
        return values[np.isfinite(values)]


def new_rows(table, start):
    rows = table[max(start, len(table) - FIRST_ROWS):]
    lacking = np.full(len(rows), math.nan)
    return np.stack([rows[name].astype(float) if name in rows.dtype.names else lacking for name in WANTED], axis=1)


def status_of(file):
    if "status" not in file or len(file["status"]) == 0:
        return {"state": "starting"}
    row = file["status"][0]
    return {"state": text(row["state"]), "message": text(row["message"]), "last_step": int(row["last_step"]),
            "planned": int(row["planned_steps"]), "heartbeat": float(row["heartbeat"])}  # fmt: skip


def read_brief(folder, run_id="", known=0):
    """(brief, rows), called in the reading process: rows are None or what Course.take wants, given what it knows."""
    path = pathlib.Path(folder) / "run.h5"
    if not path.exists():
        return {"state": "absent"}, None
    try:
        with open_readonly(path) as file:
            brief, rows = status_of(file), None
            if "eval" in file and len(file["eval"]) and "loss" in (file["eval"].dtype.names or ()):
                brief["held_out"] = float(file["eval"][-1]["loss"])
            if "train" in file and file["train"].dtype.names:
                table, found = file["train"], text(file.attrs.get("run_id", b""))
                anew = found != run_id or len(table) < known  # another file than last time
                total = len(table)
                rows = (found, total, new_rows(table, 0 if anew else known), anew)
            return brief, rows
    except UNREADABLE as problem:
        return {"state": "unreadable", "message": (str(problem).splitlines() or [type(problem).__name__])[0]}, None


def seconds_per_step(course):
    """Evaluations and the like included; None where one cannot know."""
    rows = course.rows[-RATE_ROWS:, [WANTED.index("step"), WANTED.index("elapsed_seconds")]]
    if not len(rows) or not np.isfinite(rows).all():
        return None
    (steps, seconds), last = rows[-1] - rows[0], rows[-1]
    if steps <= 0 or seconds <= 0:  # the first row, or a clock that began anew
        steps, seconds = last[0] + 1, last[1]
    return float(seconds / steps) if steps > 0 and seconds > 0 else None


def course_values(course):
    """Speed, last loss, and the course of the loss in at most POINTS medians, oldest first."""
    if not len(course.rows):
        return {}
    losses, rates = course.rows[:, WANTED.index("loss")], course.column("tokens_per_second", 20)
    stretches = (part[np.isfinite(part)] for part in np.array_split(losses, min(POINTS, len(losses))))
    return {"loss": float(losses[-1]), "rows_step": int(np.nan_to_num(course.rows[-1, 0], nan=-1)),
            "tokens_per_second": float(np.median(rates)) if len(rates) else None,
            "seconds_per_step": seconds_per_step(course),
            "course": [float(np.median(part)) if len(part) else math.nan for part in stretches]}  # fmt: skip


class BriefReader:
    """Reads again and again in one child process; a file that does not answer in time is left alone for a while."""

    def __init__(self, timeout):
        self.reader, self.courses, self.refused = Reader(timeout), {}, {}

    def read_one(self, folder):
        until, words = self.refused.get(folder, (0.0, ""))
        if time.monotonic() < until:
            return {"state": "unreadable", "message": words}
        course = self.courses.setdefault(folder, Course())
        try:
            brief, rows = self.reader.call("braid_report.brief", "read_brief", str(folder), course.run_id, course.total)
        except Unreadable as problem:
            self.refused[folder] = time.monotonic() + RETRY_SECONDS, str(problem)
            return {"state": "unreadable", "message": str(problem)}
        if rows is not None:
            course.take(*rows)
            brief.update(course_values(course))
        return brief

    def read(self, folders):
        """One brief a folder, in their order."""
        return [self.read_one(folder) for folder in folders]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reader.stop()


def read_briefs(folders, timeout):
    with BriefReader(timeout) as reader:
        return reader.read(folders)
