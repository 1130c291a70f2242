# SPDX-License-Identifier: Apache-2.0
"""The picture that watch shows: a heading, a line a run, and how many there are of each state. Never too wide."""

import collections
import pathlib
import time

from . import terminal
from .terminal import clip, clip_middle, pad, printable, width_of

NAME_LEAST, NAME_MOST, BAR_MOST, SPARK_MOST = 14, 24, 20, 24
HEADS = {"bar": "", "spark": "course", "heartbeat": "beat"}
FIRST_TO_GO = ("heartbeat", "bar", "tokens/s", "spark", "held-out", "left", "step", "loss")  # when there is no room
STATE_ORDER = ("running", "lost", "unreadable", "starting", "diverged", "failed", "stopped", "preempted", "done",
               "waiting")  # fmt: skip


def words(spell, value):
    return "" if value is None else spell(value)


def cells(run):
    """Heading → text, for the columns whose width the text decides."""
    started = run.state not in ("waiting", "starting", "unreadable") or run.steps_done > 0
    beat = run.heartbeat_age if run.state in ("running", "lost") else None
    return {
        "run": printable(run.name),
        "state": printable(run.state),
        "step": f"{run.steps_done}/{run.planned}" if started else "",
        "loss": words(terminal.number, run.loss),
        "held-out": words(terminal.number, run.held_out),
        "tokens/s": words(terminal.short_count, run.tokens_per_second),
        "left": words(terminal.duration, run.seconds_left),
        "heartbeat": words(terminal.age, beat),
    }


def widths_for(texts, width):
    """Heading → columns, in their order from left to right; what does not fit is left out or narrower."""
    order = ("run", "state", "bar", "step", "loss", "held-out", "tokens/s", "left", "spark", "heartbeat")
    wanted = {name: max([width_of(HEADS.get(name, name)), *(width_of(row[name]) for row in texts)])
              for name in order if name in texts[0] and any(row[name] for row in texts)}  # fmt: skip
    wanted.update(bar=6, spark=8)
    shown = {name: wanted[name] for name in order if name in wanted}

    def spare():
        return width - sum(shown.values()) - 2 * (len(shown) - 1)

    longest = min(wanted["run"], NAME_MOST)
    for name in filter(shown.__contains__, FIRST_TO_GO):
        shown["run"] = max(min(longest, NAME_LEAST), min(longest, longest + spare()))
        if spare() < 0:
            del shown[name]
            shown["run"] = longest
    shown["run"] = max(1, min(longest, longest + spare()))
    if spare() < 0:
        del shown["state"]
        shown["run"] = max(1, min(longest, width))
    for name, most in (("run", wanted["run"]), ("bar", BAR_MOST), ("spark", SPARK_MOST)):
        if name in shown:
            shown[name] += max(0, min(most - shown[name], spare()))
    return shown


def row(texts, run, look, widths):
    parts = []
    for name, width in widths.items():
        if name == "bar":
            part = look.bar(run.share, width)
        elif name == "spark":
            part = pad(look.spark(run.course, width), width)
        else:
            text = clip_middle(texts[name], width) if name == "run" else texts[name]
            part = pad(look.plain(text), width, right=name not in ("run", "state"))
        parts.append(look.paint(part, terminal.STATE_COLOURS.get(run.state, "")) if name in ("state", "bar") else part)
    return "  ".join(parts).rstrip()


def heading(widths, look):
    parts = [pad(clip(HEADS.get(name, name), width), width, right=name not in ("run", "state", "spark"))
             for name, width in widths.items()]  # fmt: skip
    return look.paint(look.plain("  ".join(parts).rstrip()), "bold")


def counted(runs):
    counts = collections.Counter(run.state for run in runs)
    states = sorted(counts, key=lambda state: (STATE_ORDER + (state,)).index(state))
    return ", ".join(f"{counts[state]} {printable(state)}" for state in states)


def chosen(runs, room):
    """The runs to show in `room` lines: what goes on first, what waits last, in the order they came in."""
    def urgency(place):
        state = runs[place].state
        kind = 0 if state in ("running", "lost", "unreadable", "starting") else 2 if state == "waiting" else 1
        return kind, place if kind != 1 else -place  # of those that ended, the last

    places = sorted(sorted(range(len(runs)), key=urgency)[:room])
    return [runs[place] for place in places], [run for place, run in enumerate(runs) if place not in set(places)]


def complaints(runs, look, width):
    """What failed runs say of themselves."""
    for run in runs:
        if run.message:
            text = look.plain(clip(f"{printable(run.name)}: {printable(run.message)}", width))
            yield look.paint(text, terminal.STATE_COLOURS.get(run.state, "dim"))


def lines(runs, look, width, height=None, paths=()):
    """At most `height` lines (None: as many as there are) of at most `width` columns."""
    ended = sum(run.ended for run in runs)
    names = ", ".join(pathlib.Path(path).resolve().name for path in paths)
    title = f"{time.strftime('%H:%M:%S')}  {printable(names)}: {ended} of {len(runs)} ended"
    title += f" ({counted(runs)})" if runs else ", no run has begun"
    title = look.paint(look.plain(clip(title, width)), "bold")
    if not runs:
        return [title][:height]
    shown, rest = (runs, []) if height is None else chosen(runs, max(0, height - 2))
    if rest:
        shown, rest = chosen(runs, max(0, height - 3))
    texts = [cells(run) for run in runs]
    widths = widths_for(texts, width)
    by_run = dict(zip(map(id, runs), texts))
    picture = [title, heading(widths, look), *(row(by_run[id(run)], run, look, widths) for run in shown)]
    if rest:
        picture.append(look.plain(clip(f"… and {len(rest)} more: {counted(rest)}", width)))
    room = None if height is None else max(0, height - len(picture))
    return [*picture, *list(complaints(runs, look, width))[:room]][:height]
