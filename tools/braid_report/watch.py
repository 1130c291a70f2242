# SPDX-License-Identifier: Apache-2.0
"""braid-report watch: runs as they go, one line each, until all have ended."""

import os
import signal
import sys
import time

from . import board, terminal
from .brief import BriefReader
from .standing import sign_of_life, standings
from .trouble import Trouble, seconds

HELP = "A live view of runs or of a sweep in the terminal; it ends when all runs have ended, and on Ctrl-C."
EXAMPLE = """  braid-report watch runs/fast
  braid-report watch runs/a runs/b --interval 5
  braid-report watch runs/fast --once         # how things stand, once

A run is "lost" when its file says running and its heartbeat is older than 60 s, "waiting" when its sweep has not
started it yet. Exit codes: 0 all runs have ended, or Ctrl-C, or --once; 1 given up; 2 wrong use."""
ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # another screen, no cursor, no wrapping: a shrinking window tears nothing
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
READ_MOST = 5.0  # seconds that one file may keep the others waiting
LOOK_SECONDS = 0.2  # how often the terminal's size is looked at


def add_arguments(parser):
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="run folders, sweeps, or folders that hold such")
    parser.add_argument("--once", action="store_true", help="print how things stand and leave")
    parser.add_argument("--interval", type=seconds, default=2.0, metavar="SECONDS",
                        help="between two looks (default %(default)g)")  # fmt: skip
    parser.add_argument("--give-up", type=seconds, default=600.0, metavar="SECONDS",
                        help="leave when nothing runs or happens for so long (default %(default)g)")  # fmt: skip


class Screen:
    """A terminal's second screen; whatever happens, Ctrl-Z included, the first one comes back as it was."""

    def __init__(self, stream):
        self.stream = stream
        self.suspends = hasattr(signal, "SIGTSTP")

    def __enter__(self):
        self.stream.write(ENTER)
        self.stream.flush()
        if self.suspends:
            self.before = signal.signal(signal.SIGTSTP, self.suspend)
        return self

    def __exit__(self, *_):
        if self.suspends:
            signal.signal(signal.SIGTSTP, self.before)
        self.stream.write(LEAVE)
        self.stream.flush()

    def suspend(self, *_):
        """Past the stream's buffer, which may be in use just now."""
        os.write(self.stream.fileno(), LEAVE.encode())
        os.kill(os.getpid(), signal.SIGSTOP)
        os.write(self.stream.fileno(), ENTER.encode())

    def draw(self, lines):
        """Each line is cleared before it is written: after a full line, clearing to its end would eat a character."""
        self.stream.write("\x1b[H" + "\r\n".join("\x1b[2K" + line for line in lines) + "\x1b[J")
        self.stream.flush()


class Watch:
    """What one call of watch looks at, and what it saw last."""

    def __init__(self, options, stream, reader):
        self.options, self.stream, self.reader = options, stream, reader
        self.look, self.started, self.runs = terminal.prepare(stream), time.time(), []

    def given_up(self):
        latest = max(self.started, sign_of_life(self.options.folders, self.runs))
        return time.time() - latest > self.options.give_up and not any(run.state == "running" for run in self.runs)

    def verdict(self):
        """Looks again; the exit code, or None while there is more to see."""
        self.runs = standings(self.options.folders, self.reader)
        if self.options.once or (self.runs and all(run.ended for run in self.runs)):
            return 0
        return 1 if self.given_up() else None

    def draw_for_a_while(self, screen):
        until, drawn = time.monotonic() + self.options.interval, None
        while time.monotonic() < until:
            size = terminal.size(self.stream)
            if size != drawn:
                screen.draw(board.lines(self.runs, self.look, *size, paths=self.options.folders))
                drawn = size
            time.sleep(min(LOOK_SECONDS, max(0.0, until - time.monotonic())))

    def live(self):
        """In place, on a terminal."""
        try:
            with Screen(self.stream) as screen:
                while (code := self.verdict()) is None:
                    self.draw_for_a_while(screen)
        except KeyboardInterrupt:
            code = 0
        return code

    def snapshots(self):
        """One picture after the other, for a file or a pipe."""
        while (code := self.verdict()) is None:
            self.print_all()
            print(file=self.stream, flush=True)
            time.sleep(self.options.interval)
        return code

    def print_all(self):
        columns, _ = terminal.size(self.stream)
        print("\n".join(board.lines(self.runs, self.look, columns, paths=self.options.folders)), file=self.stream,
              flush=True)  # fmt: skip


def follow(options, stream):
    with BriefReader(min(options.read_timeout, READ_MOST)) as reader:
        watch = Watch(options, stream, reader)
        code = watch.live() if terminal.is_terminal(stream) and not options.once else watch.snapshots()
        watch.print_all()
    if code == 1:
        print(f"nothing has happened for {terminal.duration(options.give_up)}: given up", file=stream)
    return code


def leave(number, _):
    raise SystemExit(128 + number)


def run(options):
    for folder in options.folders:
        if not os.path.exists(folder):
            raise Trouble(f"{folder}: no such folder")
        if not os.path.isdir(folder) and os.path.basename(folder) != "run.h5":
            raise Trouble(f"{folder}: neither a folder nor a run.h5")
    before = signal.signal(signal.SIGTERM, leave)
    try:
        return follow(options, sys.stdout)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # "watch | head" has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still in the buffer
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)
