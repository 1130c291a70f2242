# SPDX-License-Identifier: Apache-2.0
"""Run files are read in a child process with a time limit: a damaged file, or a file system that hangs, costs one run
and never the report.

One child answers many requests. Where it crashes or takes too long it alone is ended, and the next request starts
another. Requests and answers are pickles, each behind its length; only this package talks to the child.
"""

import os
import pathlib
import pickle
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading

from .runs import Run

READ_TIMEOUT = 20.0  # seconds a file
START_TIMEOUT = 60.0  # seconds until the child has imported h5py; that is not the file's fault
PACKAGES = pathlib.Path(__file__).resolve().parents[1]  # where the child finds this package
LENGTH = struct.Struct("<Q")


class Unreadable(Exception):
    """Why a request got no answer, in one line."""


def send(stream, value):
    data = pickle.dumps(value, protocol=5)
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream):
    """The next value; EOFError where there is none."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    size = LENGTH.unpack(head)[0]
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return pickle.loads(data)


def environment():
    """Ours, and a path on which the child finds the package, installed or not; never modules of the current folder."""
    paths = [str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def ending(code):
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


class Child:
    """One process that answers requests, until one of them ends it."""

    def __init__(self):
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen([sys.executable, "-m", "braid_report.reading_child"], env=environment(),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.answers = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        """In a thread: a pipe has no reading with a time limit on every system."""
        try:
            while True:
                self.answers.put(receive(self.process.stdout))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            self.answers.put(None)

    def answer(self, seconds):
        """(worked, value); Unreadable where the child was too slow or is gone."""
        try:
            found = self.answers.get(timeout=seconds)
        except queue.Empty:
            raise Unreadable(f"not read within {seconds:g} s") from None
        if found is None:
            raise Unreadable(f"the reading process ended with {self.last_words()}")
        return found

    def last_words(self):
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "no answer"
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return ending(code) + (f": {lines[-1]}" if lines and code > 0 else "")

    def end(self):
        """Also where it hangs in the kernel and cannot be waited for."""
        self.process.kill()
        try:
            self.process.wait(timeout=5)
            self.process.stdout.close()
        except subprocess.TimeoutExpired:
            pass
        try:
            self.process.stdin.close()
        except OSError:
            pass
        self.errors.close()


class Reader:
    """Calls functions of modules in a child process; used in a with statement, which ends the child."""

    def __init__(self, seconds=READ_TIMEOUT):
        self.seconds = seconds
        self.child = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self.child = Child()
        self.ready = False

    def stop(self):
        if self.child is not None:
            self.child.end()
        self.child = None

    def call(self, module, function, *arguments):
        """What the function returns; Unreadable, with the reason, where it raises, crashes or takes too long."""
        if self.child is None:
            self.start()
        try:
            if not self.ready:
                self.ready = self.child.answer(START_TIMEOUT)[0]
            send(self.child.process.stdin, (module, function, arguments))
            worked, value = self.child.answer(self.seconds)
        except Unreadable:
            self.stop()
            raise
        except OSError:
            words = self.child.last_words()
            self.stop()
            raise Unreadable(f"the reading process ended with {words}") from None
        if not worked:
            raise Unreadable(value)
        return value


def call(seconds, module, function, *arguments):
    """One call in a child of its own."""
    with Reader(seconds) as reader:
        return reader.call(module, function, *arguments)


def read_runs(folders, timeout=READ_TIMEOUT, module="braid_report.runs", function="read_run"):
    """The runs in the folders, in their order; one that cannot be read is "unreadable" and says why."""
    folders = [pathlib.Path(folder).resolve() for folder in folders]
    if not folders:
        return []
    runs = []
    with Reader(timeout) as reader:
        for folder in folders:
            try:
                runs.append(reader.call(module, function, folder))
            except Unreadable as problem:
                runs.append(Run(name=folder.name, folder=folder, state="unreadable", message=str(problem)))
    return runs
