# SPDX-License-Identifier: Apache-2.0
"""Files are read in a child process: one that hangs, crashes or lies costs its own run and nothing else."""

import os
import pathlib
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

from braid_report import reading  # noqa: E402
from braid_report.reading import Reader, Unreadable, read_runs  # noqa: E402
from run_builder import write_run  # noqa: E402


def report(*arguments):
    return subprocess.run([sys.executable, REPORT, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def hanging(folder):
    folder.mkdir(parents=True)
    os.mkfifo(folder / "run.h5")  # opening it waits for a writer that never comes


def test_a_file_that_hangs_costs_its_time_limit_and_the_others_are_read(tmp_path):
    write_run(tmp_path / "a")
    hanging(tmp_path / "b")
    write_run(tmp_path / "c")
    start = time.monotonic()
    found = read_runs([tmp_path / name for name in "abc"], timeout=2)
    assert 2 <= time.monotonic() - start < 15
    assert [run.state for run in found] == ["done", "unreadable", "done"]
    assert found[1].message == "not read within 2 s" and len(found[2].train) == 20


def test_every_command_survives_a_file_that_hangs(tmp_path):
    write_run(tmp_path / "runs" / "good")
    hanging(tmp_path / "runs" / "bad")
    short = ["--read-timeout", "1.5"]
    done = report("page", tmp_path / "runs", "--out", tmp_path / "page", *short)
    assert done.returncode == 0 and "not read within 1.5 s" in (tmp_path / "page/report.html").read_text()
    done = report("export", tmp_path / "runs", "--out", tmp_path / "csv", *short)
    assert done.returncode == 1 and "bad: not read within 1.5 s" in done.stderr and (tmp_path / "csv/good.csv").exists()
    done = report("compare", tmp_path / "runs" / "good", tmp_path / "runs" / "bad", *short)
    assert done.returncode == 1 and "not read within 1.5 s" in done.stdout + done.stderr
    done = report("clean", tmp_path / "runs" / "bad", "--out", tmp_path / "copy.h5", *short)
    assert done.returncode == 1 and "not read within 1.5 s" in done.stderr and not (tmp_path / "copy.h5").exists()
    assert list(tmp_path.glob(".copy*")) == []


def test_a_crash_of_the_reading_process_is_told_and_a_new_one_goes_on():
    with Reader(10) as reader:
        with pytest.raises(Unreadable, match="SIGSEGV"):
            reader.call("ctypes", "string_at", 0)  # reads at address 0
        assert reader.call("math", "sqrt", 4.0) == 2.0


def test_an_exception_is_one_line_and_the_process_goes_on():
    with Reader(10) as reader:
        with pytest.raises(Unreadable, match="math domain error|expected a nonnegative input"):
            reader.call("math", "sqrt", -1.0)
        child = reader.child
        assert reader.call("math", "sqrt", 9.0) == 3.0 and reader.child is child


def test_what_a_library_prints_does_not_stand_among_the_answers():
    with Reader(10) as reader:
        assert reader.call("builtins", "print", "to stdout") is None
        assert reader.call("os", "system", "echo from a process") == 0
        assert reader.call("math", "sqrt", 16.0) == 4.0


def test_no_process_is_left(tmp_path):
    hanging(tmp_path / "a")
    with Reader(1) as reader:
        pid = reader.child.process.pid
        assert read_runs([tmp_path / "a"], timeout=1)[0].state == "unreadable"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_many_small_files_are_read_by_one_process_quickly(tmp_path):
    for i in range(40):
        write_run(tmp_path / f"r{i}")
    start = time.monotonic()
    assert len(read_runs(sorted(tmp_path.iterdir()))) == 40
    assert time.monotonic() - start < 10


def test_a_file_cut_short_gives_the_rows_that_are_there_and_no_zeros(tmp_path):
    write_run(tmp_path / "a", table=None)
    path = tmp_path / "a" / "run.h5"
    with h5py.File(path, "r+") as f:
        table = f["train"]
        table.resize(5000, axis=0)
        table[:] = np.resize(table[:20], 5000)
        table["step"] = np.arange(5000)
        end = max(table.id.get_chunk_info(i).byte_offset + table.id.get_chunk_info(i).size for i in range(table.id.get_num_chunks()))
    os.truncate(path, end - 200 * 80)
    run = read_runs([tmp_path / "a"])[0]
    if run.state == "unreadable":
        assert run.message  # this HDF5 refuses a file shorter than its superblock says
    else:
        assert run.train is not None and 0 < len(run.train) < 5000 and (run.train["loss"] > 0).all()


def test_the_child_needs_no_installed_package_and_ignores_modules_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "h5py.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert reading.call(20, "os.path", "basename", "a/b") == "b"
