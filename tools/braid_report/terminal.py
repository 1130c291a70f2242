# SPDX-License-Identifier: Apache-2.0
"""Text for terminals: its width in columns, colour, what an encoding can show, and words for numbers and times."""

import math
import os
import re
import shutil
import sys
import unicodedata

COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
STATE_COLOURS = {"done": "green", "running": "blue", "diverged": "red", "failed": "red", "unreadable": "red",
                 "lost": "yellow", "stopped": "yellow", "preempted": "yellow", "starting": "dim", "waiting": "dim",
                 "missing": "dim"}  # fmt: skip
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ABSENT = "–"
INSTEAD = {"–": "-", "…": "~", "±": "+-", "░": ".", "█": "#", "×": "x"}


class Look:
    """What one stream can show: colours, and block characters or ASCII instead of them."""

    def __init__(self, stream):
        self.colour = is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        try:
            "▁█…–±░×".encode(getattr(stream, "encoding", None) or "utf-8")
            self.blocks = True
        except (UnicodeEncodeError, LookupError):
            self.blocks = False

    def paint(self, text, *styles):
        codes = ";".join(COLOURS[style] for style in styles if style in COLOURS)
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colour and codes and text else text

    def plain(self, text):
        """The text without characters that the stream's encoding lacks."""
        if self.blocks:
            return text
        for shown, instead in INSTEAD.items():
            text = text.replace(shown, instead)
        return text

    def bar(self, share, width):
        full = round(min(max(share, 0.0), 1.0) * width)
        return self.plain("█" * full + "░" * (width - full))

    def spark(self, values, width):
        """The course of the values, oldest first; × where nothing was finite."""
        steps = "▁▂▃▄▅▆▇█" if self.blocks else "_.:-=+*#"
        shown = thinned(values, width)
        finite = [v for v in shown if math.isfinite(v)]
        low, reach = (min(finite), max(finite) - min(finite)) if finite else (0.0, 0.0)
        marks = [steps[round((v - low) / reach * 7) if reach > 0 else 0] if math.isfinite(v) else self.plain("×")
                 for v in shown]  # fmt: skip
        return "".join(marks)


def thinned(values, width):
    """At most `width` values: the mean of what is finite in each stretch, else NaN."""
    if len(values) <= width:
        return list(values)
    edges = [len(values) * i // width for i in range(width + 1)]
    stretches = ([v for v in values[a:b] if math.isfinite(v)] for a, b in zip(edges, edges[1:]))
    return [math.fsum(s) / len(s) if s else math.nan for s in stretches]


def is_terminal(stream):
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def prepare(stream):
    """Nothing that is printed later can fail for want of a character; Windows terminals understand ANSI codes."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    if os.name == "nt" and is_terminal(stream):
        os.system("")
    return Look(stream)


def size(stream=None):
    """(columns, lines): of the terminal as it is now, else COLUMNS and LINES, else 100 x 24."""
    try:
        found = os.get_terminal_size((stream or sys.stdout).fileno())
        if found.columns > 0 and found.lines > 0:
            return found.columns, found.lines
    except (OSError, ValueError, AttributeError):
        pass
    found = shutil.get_terminal_size((100, 24))
    return max(found.columns, 1), max(found.lines, 1)


def printable(text):
    """Names and messages come from files: no control character of theirs reaches the terminal."""
    kinds = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return "".join(" " if c in "\n\t" else "?" if unicodedata.category(c) in kinds else c for c in str(text))


def columns_of(character):
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width_of(text):
    return sum(map(columns_of, ESCAPE.sub("", text)))


def clip(text, width):
    """The uncoloured text in at most `width` columns; … says that something is missing."""
    if width_of(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        if used + columns_of(character) > width - 1:
            break
        kept, used = kept + character, used + columns_of(character)
    return kept + "…" if width > 0 else ""


def clip_middle(text, width):
    """As clip, but the end stays: it tells one run from the next."""
    if width_of(text) <= width or width < 5:
        return clip(text, width)
    tail = text[-(width // 2):]
    while width_of(tail) > width // 2:
        tail = tail[1:]
    head = ""
    while width_of(head + text[len(head)]) < width - width_of(tail):
        head += text[len(head)]
    return f"{head}…{tail}"


def pad(text, width, right=False):
    space = " " * max(0, width - width_of(text))
    return space + text if right else text + space


def number(value, digits=4):
    """Four decimals where they say something, else four significant digits."""
    if value is None:
        return ABSENT
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value != 0 and not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3e}"
    return f"{value:.{min(digits, 2) if abs(value) >= 1000 else digits}f}"


def short_count(value):
    """950, 14.9k, 2.31M."""
    if value is None or not math.isfinite(value):
        return ABSENT if value is None else "NaN"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(limit, 1e4):
            scaled = value / limit
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{value:.0f}"


def duration(seconds):
    """0:42, 12:05, 3:10:00, 2d 03h."""
    if seconds is None or not math.isfinite(seconds):
        return ABSENT
    whole = max(0, round(seconds))
    if whole >= 2 * 86400:
        return f"{whole // 86400}d {whole % 86400 // 3600:02}h"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def age(seconds):
    """3s, 12m, 5h, 4d."""
    for limit, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * limit:
            return f"{seconds / limit:.0f}{unit}"
    return f"{max(0, seconds):.0f}s"
