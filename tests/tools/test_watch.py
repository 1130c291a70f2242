# SPDX-License-Identifier: Apache-2.0
"""braid-report watch: what it shows, on a terminal and elsewhere, and when it ends."""

import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

from braid_report import board, brief, standing, terminal  # noqa: E402
from run_builder import rows, status_row, write_run  # noqa: E402

TRAIN = np.dtype(rows(1).dtype.descr + [("elapsed_seconds", "f8")])


def table_of(steps, seconds=2.0, **more):
    """Rows with a clock: `seconds` a step after a first one that took 100."""
    table = np.zeros(steps, TRAIN)
    for name in rows(1).dtype.names:
        table[name] = rows(steps, **more)[name]
    table["elapsed_seconds"] = 100 + seconds * np.arange(steps)
    return table


def write_live(folder, steps=10, age=0.0, table=None, **more):
    write_run(folder, table=table_of(steps) if table is None else table, state="running", **more)
    set_status(folder, "running", steps - 1, age)


def set_status(folder, state, last, age=0.0, message=""):
    with h5py.File(folder / "run.h5", "r+") as f:
        f["status"][...] = status_row(state, last, message, age)


def expect(root, *names, **states):
    root.mkdir(exist_ok=True)
    message = "ended with exit code 1"
    entries = [{"name": name, "state": states.get(name, "waiting"), "message": message} for name in names]
    (root / "sweep.json").write_text(json.dumps({"runs": entries}), encoding="utf-8")


def command(*arguments):
    return [sys.executable, str(REPORT), "watch", *map(str, arguments)]


def once(*arguments, columns=120, code=0):
    done = subprocess.run(command(*arguments, "--once"), capture_output=True, encoding="utf-8", timeout=60,
                          env={**os.environ, "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"})  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code < 2 else done.stderr


def row_of(text, name):
    return next(line for line in text.split("\n") if line.startswith(name + " "))


def test_once_shows_each_run_in_a_line(tmp_path):
    expect(tmp_path, "b", "a", "later", "dead", "begins", dead="failed", begins="running")
    write_live(tmp_path / "b", evaluation=[(0, 5.5), (5, 3.25)])
    write_run(tmp_path / "a")
    write_run(tmp_path / "attempts" / "a-1")
    text = once(tmp_path)
    assert [line.split()[0] for line in text.split("\n")[2:7]] == ["b", "a", "later", "dead", "begins"]
    cells = row_of(text, "b").split()
    assert cells[1] == "running" and cells[3:8] == ["10/20", f"{rows(10)['loss'][-1]:.4f}", "3.2500", "1020", "0:20"]
    assert cells[2].count("█") == cells[2].count("░") == 10  # half done
    assert cells[8][0] == "█" and cells[8][-1] == "▁" and cells[9] in ("0s", "1s", "2s", "3s")
    assert row_of(text, "a").split()[1:4] == ["done", "█" * 20, "20/20"]
    assert row_of(text, "later").split()[1] == "waiting"
    assert row_of(text, "dead").split()[1] == "failed" and "dead: ended with exit code 1" in text
    assert row_of(text, "begins").split()[1] == "starting"
    assert "2 of 5 ended (1 running, 1 starting, 1 failed, 1 done, 1 waiting)" in text


def test_a_silent_heartbeat_means_lost(tmp_path):
    write_live(tmp_path / "quiet", age=45)
    write_live(tmp_path / "gone", age=200)
    write_run(tmp_path / "old", table=table_of(20))
    set_status(tmp_path / "old", "done", 19, age=9999)
    text = once(tmp_path)
    assert [row_of(text, name).split()[1] for name in ("quiet", "gone", "old")] == ["running", "lost", "done"]
    assert row_of(text, "gone").endswith("3m")


def test_a_preempted_run_has_ended_and_says_why(tmp_path):
    write_run(tmp_path / "a", table=table_of(10), state="preempted", message="time limit: stopped after step 9")
    text = once(tmp_path)
    assert "preempted" in row_of(text, "a") and "1 of 1 ended (1 preempted)" in text
    assert "a: time limit: stopped after step 9" in text


def test_the_time_left_is_that_of_the_recent_steps(tmp_path):
    write_live(tmp_path / "later", steps=12, table=table_of(12, seconds=3.0))  # the first step took 100 s
    assert "0:24" in row_of(once(tmp_path), "later").split()
    write_live(tmp_path / "first", steps=1, table=table_of(1))
    assert "31:40" in row_of(once(tmp_path), "first").split()  # 19 steps as long as the only one


def test_nan_and_unreadable_runs_keep_their_line(tmp_path):
    write_run(tmp_path / "nan", table=table_of(20, nan_from=4), state="diverged", message="the loss is not finite")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.h5").write_bytes(b"x" * 4000)
    text = once(tmp_path)
    cells = row_of(text, "nan").split()
    assert cells[1] == "diverged" and cells[4] == "NaN" and re.fullmatch(r"█[▁-█]{2}▁×{16}", cells[-1])
    assert row_of(text, "broken").split()[1] == "unreadable"
    assert "nan: the loss is not finite" in text and "broken: " in text


@pytest.mark.parametrize("columns", (1, 5, 12, 20, 40, 60, 80, 140, 300))
def test_no_line_is_wider_than_the_terminal(tmp_path, columns):
    write_live(tmp_path / "a_run_with_a_name_that_takes_much_room_on_the_screen_s0", steps=7)
    write_run(tmp_path / "語語語語語語語語語語語語", state="failed", message="no\x1b[2Jthing " * 19)
    text = once(tmp_path, columns=columns)
    assert max(map(terminal.width_of, text.split("\n"))) <= columns
    assert "\x1b" not in text
    if columns >= 40:
        assert "_s0  running" in text  # the end of a name tells runs apart
        assert ("…" in text) == (columns < 300)
    if columns >= 60:
        assert "7/20" in text


def picture(states, width=80, height=None):
    runs = [standing.Standing(f"run{place}", state, planned=10) for place, state in enumerate(states)]
    return board.lines(runs, terminal.Look(None), width, height)


def test_more_runs_than_lines_are_counted_and_the_running_ones_stay():
    states = ["done"] * 30 + ["running", "lost"] + ["waiting"] * 20
    lines = picture(states, height=10)
    assert len(lines) == 10 and lines[-1] == "… and 45 more: 25 done, 20 waiting"
    shown = [line.split()[0] for line in lines[2:-1]]
    assert shown == ["run25", "run26", "run27", "run28", "run29", "run30", "run31"]
    for height in range(1, 60):
        assert len(picture(states, height=height)) <= height
    assert len(picture(states)) == 54 and len(picture(["done"] * 3, height=5)) == 5


def test_sparklines_and_bars():
    look = terminal.Look(None)
    assert look.spark([8.0, 4.5, 1.0], 8) == "█▄▁" or look.spark([8.0, 4.5, 1.0], 8) == "█▅▁"
    assert look.spark([1.0, 1.0], 8) == "▁▁" and look.spark([float("nan")], 8) == "×" and look.spark([], 8) == ""
    assert len(look.spark(list(range(1000)), 8)) == 8 and look.spark(list(range(1000)), 8) == "▁▂▃▄▅▆▇█"
    assert look.bar(0.5, 4) == "██░░" and look.bar(7.0, 4) == "████" and look.bar(-1.0, 4) == "░░░░"


def test_only_new_rows_are_read(tmp_path):
    write_live(tmp_path / "run", steps=10)
    with brief.BriefReader(20.0) as reader:
        folder = tmp_path / "run"
        assert len(reader.read([folder])[0]["course"]) == 10
        _, (_, total, new, anew) = brief.read_brief(folder, "", 10)
        assert (total, len(new), anew) == (10, 0, False)
        with h5py.File(folder / "run.h5", "r+") as f:
            f["train"].resize((13,))
            f["train"][10:] = table_of(13)[10:]
        _, (_, total, new, anew) = brief.read_brief(folder, "", 10)
        assert (total, new[:, 0].tolist()) == (13, [10, 11, 12])
        found = reader.read([folder])[0]
        assert found["rows_step"] == 12 and len(found["course"]) == 13
        assert found["loss"] == table_of(13)["loss"][-1]
        (folder / "run.h5").rename(tmp_path / "aside.h5")
        assert reader.read([folder])[0]["state"] == "absent"
        folder.rename(tmp_path / "aside")
        write_live(folder, steps=4)
        assert len(reader.read([folder])[0]["course"]) == 4  # another run in its place


def test_a_long_run_is_read_from_its_last_rows(tmp_path):
    write_live(tmp_path / "run", steps=10000)
    found = brief.read_briefs([tmp_path / "run"], 20.0)[0]
    assert found["rows_step"] == 9999 and len(found["course"]) == brief.POINTS
    last = rows(10000)["loss"][-brief.FIRST_ROWS:]
    assert found["course"][0] == pytest.approx(np.median(last[:64]))


def test_a_file_that_does_not_answer_costs_only_its_own_line(tmp_path, monkeypatch):
    for name in "ac":
        write_run(tmp_path / name)
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "run.h5")  # opening it waits for a writer that never comes
    with brief.BriefReader(1.0) as reader:
        start = time.monotonic()
        states = [b["state"] for b in reader.read([tmp_path / name for name in "abc"])]
        assert states == ["done", "unreadable", "done"] and time.monotonic() - start < 20
        start = time.monotonic()
        assert reader.read([tmp_path / "b"])[0]["state"] == "unreadable"
        assert time.monotonic() - start < 0.5  # not asked again so soon


def in_a_while(seconds, action, *arguments):
    thread = threading.Timer(seconds, action, arguments)
    thread.start()
    return thread


def test_away_from_a_terminal_a_picture_an_interval_until_all_have_ended(tmp_path):
    expect(tmp_path, "a", "b")
    write_live(tmp_path / "a")
    child = subprocess.Popen(command(tmp_path, "--interval", "0.2"), stdout=subprocess.PIPE, encoding="utf-8")
    watchdog = in_a_while(40, child.kill)
    pictures = iter(child.stdout.readline, "")
    next(line for line in pictures if line.startswith("b ") and "waiting" in line)
    write_live(tmp_path / "b")  # a folder that appears later
    next(line for line in pictures if line.startswith("b ") and "running" in line)
    assert child.poll() is None
    for name in "ab":
        set_status(tmp_path / name, "done", 19)
    rest = child.stdout.read()
    watchdog.cancel()
    assert child.wait(20) == 0 and "2 of 2 ended" in rest and "\x1b" not in rest


def test_a_run_that_has_not_begun_is_waited_for(tmp_path):
    timer = in_a_while(1.5, lambda: write_run(tmp_path / "run"))
    done = subprocess.run(command(tmp_path, "--interval", "0.2"), capture_output=True, encoding="utf-8", timeout=30)
    timer.join()
    assert done.returncode == 0
    assert "no run has begun" in done.stdout and "1 of 1 ended" in done.stdout


def test_it_gives_up_when_nothing_happens_any_more(tmp_path):
    expect(tmp_path, "a", "b", a="running")
    write_live(tmp_path / "a", age=5000)
    done = subprocess.run(command(tmp_path, "--interval", "0.2", "--give-up", "1"), capture_output=True,
                          encoding="utf-8", timeout=30)  # fmt: skip
    assert done.returncode == 1 and "given up" in done.stdout and "1 lost, 1 waiting" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    write_live(tmp_path / "a")
    child = subprocess.Popen(command(tmp_path, "--interval", "0.1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"0 of 1 ended" in child.stdout.readline()
    child.stdout.close()
    assert child.wait(30) == 0 and child.stderr.read() == b""
    child.stderr.close()


@pytest.mark.parametrize("arguments, words", [(["nowhere"], "no such folder"), (["file"], "neither a folder"),
                                              (["", "--interval", "0"], "--interval")])  # fmt: skip
def test_wrong_use_is_one_line(tmp_path, arguments, words):
    (tmp_path / "file").write_text("")
    errors = once(tmp_path / arguments[0], *arguments[1:], code=2)
    assert words in errors and errors.count("\n") == 1


class Terminal:
    """A pseudo terminal with the command in it, as its session's foreground process."""

    def __init__(self, columns, lines, *arguments):
        import pty

        self.child, self.ours = pty.fork()
        if self.child == 0:
            time.sleep(0.2)  # until the size is set
            os.environ.pop("COLUMNS", None)
            os.environ.update(TERM="xterm", NO_COLOR="", PYTHONIOENCODING="utf-8")
            os.execv(sys.executable, command(*arguments))
        self.resize(columns, lines)
        self.seen, self.rest = "", b""

    def resize(self, columns, lines):
        import fcntl
        import termios

        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self):
        try:
            data = self.rest + os.read(self.ours, 65536)
        except OSError:  # the other side is closed
            return False
        text = data.decode("utf-8", "ignore")
        self.rest = data[len(text.encode()):]
        self.seen += text
        return bool(data)

    def until(self, condition, seconds=20):
        """Reads until the condition holds of all that was seen; the watchdog ends a child that never gets there."""
        watchdog = in_a_while(seconds, os.kill, self.child, signal.SIGKILL)
        while not condition(self.seen) and self.read():
            pass
        watchdog.cancel()
        assert condition(self.seen), self.seen[-2000:]

    def frames(self):
        """What was drawn: lists of lines, without the codes."""
        live = self.seen.split("\x1b[?1049l")[0]
        whole = [part.split("\x1b[J")[0] for part in live.split("\x1b[H")[1:] if "\x1b[J" in part]
        return [terminal.ESCAPE.sub("", part).replace("\r", "").split("\n") for part in whole]

    def end(self):
        """The exit code; -9 for a child that does not end by itself."""
        watchdog = in_a_while(20, os.kill, self.child, signal.SIGKILL)
        while self.read():
            pass
        watchdog.cancel()
        status = os.waitpid(self.child, 0)[1]
        os.close(self.ours)
        return os.waitstatus_to_exitcode(status)


needs_pty = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo terminal")


@needs_pty
def test_ctrl_c_leaves_cleanly_and_gives_the_cursor_back(tmp_path):
    write_live(tmp_path / "a")
    screen = Terminal(80, 24, tmp_path, "--interval", "30")
    screen.until(lambda seen: "\x1b[J" in seen)
    os.write(screen.ours, b"\x03")
    started = time.monotonic()
    assert screen.end() == 0 and time.monotonic() - started < 5
    after = screen.seen.split("\x1b[?1049h")[1]
    assert after.index("\x1b[?25l") < after.index("\x1b[?25h") < after.index("\x1b[?1049l")
    last = after.split("\x1b[?1049l")[1]
    assert "Traceback" not in screen.seen and "0 of 1 ended (1 running)" in last  # the last picture stays


@needs_pty
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 0)])
def test_signals_give_the_cursor_back(tmp_path, number, code):
    write_live(tmp_path / "a")
    screen = Terminal(80, 24, tmp_path, "--interval", "0.2")
    screen.until(lambda seen: seen.count("\x1b[J") > 2)
    os.kill(screen.child, number)
    assert screen.end() == code and "\x1b[?25h" in screen.seen and "Traceback" not in screen.seen


@needs_pty
def test_it_redraws_in_place_and_follows_a_resize(tmp_path):
    for place in range(12):
        write_live(tmp_path / f"run_number_{place}")
    screen = Terminal(100, 30, tmp_path, "--interval", "30")
    screen.until(lambda seen: "\x1b[J" in seen)
    assert len(screen.frames()[-1]) == 14 and max(map(len, screen.frames()[-1])) <= 100
    assert [line.split()[0] for line in screen.frames()[-1][2:]] == [f"run_number_{place}" for place in range(12)]
    screen.resize(50, 8)  # well before the next look at the files
    screen.until(lambda seen: seen.count("\x1b[J") >= 2)
    small = screen.frames()[-1]
    assert len(small) == 8 and max(map(len, small)) <= 50 and small[-1] == "… and 7 more: 7 running"
    screen.resize(120, 40)
    screen.until(lambda seen: seen.count("\x1b[J") >= 3)
    assert len(screen.frames()[-1]) == 14 and 100 < max(map(len, screen.frames()[-1])) <= 120
    os.write(screen.ours, b"\x03")
    assert screen.end() == 0


@needs_pty
def test_on_a_terminal_it_ends_by_itself_and_leaves_the_last_picture(tmp_path):
    write_live(tmp_path / "a")
    screen = Terminal(80, 24, tmp_path, "--interval", "0.2")
    screen.until(lambda seen: seen.count("\x1b[J") >= 2)
    set_status(tmp_path / "a", "done", 19)
    assert screen.end() == 0
    last = screen.seen.split("\x1b[?1049l")[1]
    assert "1 of 1 ended" in last and "\x1b[32m" in last  # in colour


@needs_pty
def test_ctrl_z_gives_the_terminal_back_meanwhile(tmp_path):
    write_live(tmp_path / "a")
    screen = Terminal(80, 24, tmp_path, "--interval", "0.2")
    screen.until(lambda seen: "\x1b[J" in seen)
    os.write(screen.ours, b"\x1a")
    screen.until(lambda seen: seen.endswith("\x1b[?1049l"))
    os.waitpid(screen.child, os.WUNTRACED)
    os.kill(screen.child, signal.SIGCONT)
    screen.until(lambda seen: "\x1b[J" in seen.split("\x1b[?1049l")[1])
    assert "\x1b[?1049h" in screen.seen.split("\x1b[?1049l")[1]
    os.write(screen.ours, b"\x03")
    assert screen.end() == 0
