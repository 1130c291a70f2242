# SPDX-License-Identifier: Apache-2.0
"""braid-report clean: the copy is whole, closed, and opened by readers that refuse the source."""

import hashlib
import pathlib
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pandas
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

from run_builder import rows, write_layers, write_run, write_starts  # noqa: E402

# Appends rows of 100 bytes in SWMR mode, with a layer metric beside them, until it is killed without closing.
WRITER = """
import os, sys
import h5py, numpy as np
path, rows = sys.argv[1], int(sys.argv[2])
with h5py.File(path, "r+", libver="latest") as f:
    train, step, gain = f["train"], f["layers/step"], f["layers/gain"]
    last = train[-1]
    f.swmr_mode = True
    for i in range(20, rows):
        last["step"] = i
        train.resize(i + 1, axis=0)
        train[i] = last
        step.resize(i + 1, axis=0)
        step[i] = i
        gain.resize(i + 1, axis=0)
        gain[i] = i
        if i % 50 == 0:
            f.flush()
    f.flush()
    os._exit(1)
"""


def clean(*arguments, code=0):
    done = subprocess.run([sys.executable, REPORT, "clean", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def killed(tmp_path):
    """A run file whose writer died: 300 rows, marked as open for writing."""
    write_run(tmp_path / "run", state="running", evaluation=[(0, 5.0)])
    write_layers(tmp_path / "run", "gain", steps=20, layers=3)
    path = tmp_path / "run" / "run.h5"
    assert subprocess.run([sys.executable, "-c", WRITER, path, "300"], timeout=60).returncode == 1
    with pytest.raises(OSError):
        h5py.File(path, "r", locking=False)
    return path


def test_the_copy_of_a_killed_run_opens_everywhere_and_the_source_is_untouched(killed, tmp_path):
    before = digest(killed)
    clean(killed.parent, "--out", tmp_path / "copy.h5")
    assert digest(killed) == before
    with h5py.File(tmp_path / "copy.h5", "r") as f:
        train = pandas.DataFrame(f["train"][:])
        assert f["status"][0]["state"] == b"running" and f["eval"]["loss"][0] == 5.0
    assert list(train["step"]) == list(range(300)) and (train["loss"] > 0).all()


def test_attributes_and_types_are_those_of_the_source(killed, tmp_path):
    with h5py.File(killed, "r", swmr=True, locking=False) as f:
        wanted = {name: f.attrs[name] for name in f.attrs}
        types = {name: f[name].dtype for name in ("train", "status", "layers/gain")}
    clean(killed, "--out", tmp_path / "copy.h5")
    with h5py.File(tmp_path / "copy.h5", "r") as f:
        assert {name: f.attrs[name] for name in f.attrs} == wanted and wanted["format"] == b"braid-run"
        assert {name: f[name].dtype for name in types} == types


def test_dimension_scales_are_attached_again(killed, tmp_path):
    clean(killed, "--out", tmp_path / "copy.h5")
    with h5py.File(tmp_path / "copy.h5", "r") as f:
        gain = f["layers/gain"]
        assert gain.shape == (300, 3) and gain.attrs["unit"] == b"log10"
        assert list(gain.dims[0][0][:]) == list(range(300)) and list(gain.dims[1][0][:]) == [0, 1, 2]
        assert gain.dims[0][0].name == "/layers/step" and gain[299, 2] == 299


def test_h5dump_reads_the_copy_and_not_the_source(killed, tmp_path):
    if not shutil.which("h5dump"):
        pytest.skip("h5dump is not installed (package hdf5-tools)")
    clean(killed, "--out", tmp_path / "copy.h5")
    assert subprocess.run(["h5dump", "-d", "/train", killed], capture_output=True).returncode != 0
    done = subprocess.run(["h5dump", "-A", tmp_path / "copy.h5"], capture_output=True, text=True)
    assert done.returncode == 0 and "error" not in done.stderr and "( 300 )" in done.stdout and "DIMENSION_LIST" in done.stdout


def test_a_live_file_is_copied(tmp_path):
    write_run(tmp_path / "run", state="running")
    with h5py.File(tmp_path / "run" / "run.h5", "r+", libver="latest") as f:
        f.swmr_mode = True
        clean(tmp_path / "run", "--out", tmp_path / "copy.h5")
    with h5py.File(tmp_path / "copy.h5", "r") as f:
        assert len(f["train"]) == 20


def test_a_finished_file_keeps_every_byte_of_its_tables(tmp_path):
    write_run(tmp_path / "run")
    clean(tmp_path / "run", "--out", tmp_path / "copy.h5")
    with h5py.File(tmp_path / "run/run.h5", "r") as source, h5py.File(tmp_path / "copy.h5", "r") as copy:
        assert sorted(source) == sorted(copy)
        for name in source:
            assert np.asarray(source[name][:]).tobytes() == np.asarray(copy[name][:]).tobytes()


def test_nothing_is_overwritten_unasked_and_never_the_source(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "there.h5").write_text("mine")
    assert "exists; --force overwrites it" in clean(tmp_path / "run", "--out", tmp_path / "there.h5", code=2)
    assert (tmp_path / "there.h5").read_text() == "mine"
    clean(tmp_path / "run", "--out", tmp_path / "there.h5", "--force")
    assert h5py.is_hdf5(tmp_path / "there.h5")
    words = clean(tmp_path / "run", "--out", tmp_path / "run/run.h5", "--force", code=2)
    assert "never changed" in words
    assert "no such folder" in clean(tmp_path / "run", "--out", tmp_path / "none/a.h5", code=2)
    assert "no such file" in clean(tmp_path / "nothing", "--out", tmp_path / "a.h5", code=2)


def test_a_file_that_is_no_hdf5_leaves_no_copy(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.h5").write_text("this is no HDF5 file")
    words = clean(tmp_path / "run", "--out", tmp_path / "copy.h5", code=1)
    assert words.count("\n") == 1 and sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_every_start_of_a_run_is_copied(tmp_path):
    write_run(tmp_path / "run", table=rows(20)[4:], state="preempted")
    write_starts(tmp_path / "run", (4, 2, 1), (9, 1, 2))
    clean(tmp_path / "run", "--out", tmp_path / "copy.h5")
    with h5py.File(tmp_path / "copy.h5", "r") as f:
        assert list(f["sessions"]["first_step"]) == [4, 9] and list(f["ranks"]["session"]) == [0, 0, 1]
        assert f["train"]["step"][0] == 4 and f["status"][0]["state"] == b"preempted"
