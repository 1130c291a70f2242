# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at a terminal and signals to launch/local, with real runs: what is saved, how fast it ends, who is left behind."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path

import h5py
import pytest

ROOT = Path(__file__).resolve().parents[2]
BRAID = Path(os.environ.get("BRAID_BUILD", ROOT / "build")) / "braid"
ENVIRONMENT = dict(os.environ, BRAID_BINARY=str(BRAID), TERM="xterm")
CONFIG = """
[model]
dialect = "poc"
layers = 2
width = 16
heads = 2
mlp_width = 24
vocabulary = 16
context = 12
residual = "mhc"
[data]
kind = "copy"
[train]
steps = 100000
batch = 8
log_every = 1
"""
SWEEP = "[sweep]\nseeds = [1, 2]\n"
COLUMNS = 60  # less than what a bar has to say
LINE = "launch/local: stopping with a checkpoint; Ctrl-C again leaves at once"


class Terminal:
    """launch/local as the foreground job of a pseudo-terminal; close() hangs it up."""

    def __init__(self, folder, *options, ranks=2, config=CONFIG):
        self.out = folder / "out"
        (folder / "c.toml").write_text(config)
        command = [str(ROOT / "launch/local"), "-n", str(ranks), str(folder / "c.toml"), "--out", str(self.out),
                   "--device", "cpu", *options]  # fmt: skip
        self.text = b""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
            os.execve(command[0], command, ENVIRONMENT)
        os.set_blocking(self.descriptor, False)

    def read(self):
        try:
            while part := os.read(self.descriptor, 65536):
                self.text += part
        except (BlockingIOError, OSError):  # nothing yet, or the other side is closed
            pass
        return self.text.decode(errors="replace")

    def wait_until(self, condition, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read()
            if value := condition():
                return value
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s; the terminal shows:\n{self.text.decode(errors='replace')}")

    def wait_for_steps(self, run="", count=5):
        self.wait_until(lambda: steps(self.out / run) >= count)

    def interrupt(self):
        os.write(self.descriptor, b"\x03")

    def exit_code(self, seconds=60):
        def ended():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return pid and [os.waitstatus_to_exitcode(status)]

        return self.wait_until(ended, seconds)[0]

    def close(self):
        os.close(self.descriptor)


def steps(run):
    try:
        with h5py.File(run / "run.h5", "r", swmr=True, locking=False) as f:
            return len(f["train"])
    except (OSError, KeyError):
        return 0


def state(run):
    with h5py.File(run / "run.h5", "r", swmr=True, locking=False) as f:
        return f["status"][0]["state"].decode()


def processes_of(out):
    """Living processes that have the output folder on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if any(word.startswith(bytes(out)) for word in words) and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


def assert_nobody_left(out, seconds=5):
    end = time.monotonic() + seconds
    while processes_of(out) and time.monotonic() < end:
        time.sleep(0.1)
    assert processes_of(out) == []


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(*options, **more):
        opened.append(Terminal(tmp_path, *options, **more))
        return opened[-1]

    yield start
    for one in opened:
        for pid in processes_of(one.out):
            os.kill(pid, signal.SIGKILL)


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path, terminal):
    first = terminal()
    first.wait_for_steps()
    first.interrupt()
    assert first.exit_code() == 85 and state(first.out) == "preempted"
    assert first.read().count(LINE) == 1
    assert_nobody_left(first.out)
    reached = steps(first.out)
    command = [ROOT / "launch/local", "-n", "2", tmp_path / "c.toml", "--out", first.out, "--device", "cpu",
               "--set", f"train.steps={reached + 5}"]  # fmt: skip
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "resumed: from " in done.stdout and steps(first.out) == reached + 5 and state(first.out) == "done"


def test_the_progress_bar_has_the_terminals_width(terminal):
    run = terminal("--set", "train.log_every=1000")
    bars = run.wait_until(lambda: re.findall(r"\x1b\[K([^\r\n]*\[[#.]+\][^\r\n]*)\r", run.read())[3:])
    assert {len(bar) for bar in bars} == {COLUMNS - 1}
    run.interrupt()
    assert run.exit_code() == 85


def test_a_second_ctrl_c_leaves_at_once(terminal):
    run = terminal("--set", "train.steps=100000")
    run.wait_for_steps()
    ranks = processes_of(run.out)
    for pid in ranks:  # a rank that can save nothing any more
        if Path(f"/proc/{pid}/comm").read_text().strip() == "braid":
            os.kill(pid, signal.SIGSTOP)
            break
    run.interrupt()
    run.wait_until(lambda: LINE in run.read())
    time.sleep(1)
    start = time.monotonic()
    run.interrupt()
    assert run.exit_code() == 130 and time.monotonic() - start < 8
    assert_nobody_left(run.out)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_script_saves(terminal, number):
    run = terminal()
    run.wait_for_steps()
    os.kill(run.pid, number)
    assert run.exit_code() == 85 and state(run.out) == "preempted"
    assert_nobody_left(run.out)


def test_a_terminal_that_hangs_up_saves(terminal):
    run = terminal()
    run.wait_for_steps()
    run.close()
    _, status = os.waitpid(run.pid, 0)
    assert state(run.out) == "preempted" and os.waitstatus_to_exitcode(status) == 85
    assert_nobody_left(run.out)


def test_a_killed_script_leaves_a_saved_run_and_no_process(terminal):
    run = terminal()
    run.wait_for_steps()
    os.kill(run.pid, signal.SIGKILL)
    assert_nobody_left(run.out, seconds=30)
    assert state(run.out) == "preempted"


def sweep_of(tmp_path, out):
    listed = subprocess.run([BRAID, "sweep", tmp_path / "c.toml", "--out", out, "--dry-run"], capture_output=True, text=True)
    return [line.split()[:2] for line in listed.stdout.splitlines()[1:] if line.strip()]


@pytest.mark.parametrize("ranks", [1, 2])
def test_ctrl_c_stops_a_sweep_and_its_run(tmp_path, terminal, ranks):
    run = terminal(ranks=ranks, config=CONFIG + SWEEP)
    name = sweep_of(tmp_path, tmp_path / "nowhere")[0][0]
    run.wait_for_steps(name)
    run.interrupt()
    assert run.exit_code() == 85 and state(run.out / name) == "preempted"
    assert run.read().count(LINE) == 1
    assert_nobody_left(run.out)


def test_a_second_ctrl_c_ends_a_sweep_and_its_run(tmp_path, terminal):
    run = terminal(config=CONFIG + SWEEP)
    run.wait_for_steps(sweep_of(tmp_path, tmp_path / "nowhere")[0][0])
    ranks = [pid for pid in processes_of(run.out) if Path(f"/proc/{pid}/comm").read_text().strip() == "braid"]
    os.kill(max(ranks), signal.SIGSTOP)
    for _ in range(2):
        run.interrupt()
        time.sleep(1)
    assert run.exit_code(8) == 130
    assert_nobody_left(run.out)


