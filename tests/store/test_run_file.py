# SPDX-License-Identifier: Apache-2.0
"""Run files as users read them: with h5py and pandas, while a program writes them and after kill -9."""
import os
import pathlib
import random
import signal
import subprocess
import time

import h5py
import numpy as np
import pandas
import pytest

WRITER = pathlib.Path(os.environ.get("BRAID_BUILD", "build")) / "tests" / "run_file_writer"
pytestmark = pytest.mark.skipif(not WRITER.exists(), reason=f"{WRITER} is not built")


@pytest.fixture
def writer(tmp_path):
    """Starts the program on tmp_path/run.h5; ends what a failed test leaves running."""
    started = []

    def start(rows_per_second, seconds, path=tmp_path / "run.h5"):
        command = [WRITER, path, str(rows_per_second), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def open_live(path):
    return h5py.File(path, "r", swmr=True, locking=False)


def check_rows(file):
    """Every cell of every row is the function of its step; returns the number of rows of /train."""
    train, gain, events = file["train"][:], file["layers/gain"][:], file["events"][:]
    step = np.arange(len(train))
    assert np.array_equal(train["step"], step)
    loss = np.where(step % 7 == 3, np.nan, 1.0 / (step + 1))
    assert np.array_equal(train["loss"], loss, equal_nan=True)
    assert np.array_equal(train["nonfinite"], step % 251)
    assert [note.decode() for note in train["note"]] == [f"é{i}" for i in step]
    row = file["layers/step"][:len(gain)]
    assert np.array_equal(row, np.arange(len(row)))
    gain = gain[:len(row)]
    assert np.array_equal(gain, np.stack([row, -row, row / 2], axis=1))
    assert np.array_equal(events["step"], 100 * np.arange(len(events)))
    return len(train)


def test_a_live_file_grows_under_the_reader_with_every_row_right(writer, tmp_path):
    process = writer(2000, 6)
    assert process.stdout.readline() == "ready\n"
    seen = []
    with open_live(tmp_path / "run.h5") as file:
        while process.poll() is None:
            for name in ("train", "layers/gain", "layers/step", "events", "status"):
                file[name].refresh()
            seen.append(check_rows(file))
            assert file["status"][0]["state"] in (b"running", b"done")
            time.sleep(0.05)
    assert process.returncode == 0
    assert len(set(seen)) > 10 and seen == sorted(seen)
    total = int(process.stdout.read())
    with h5py.File(tmp_path / "run.h5", "r") as file:  # a finished file needs no special way of opening
        assert check_rows(file) == total
        status = file["status"][0]
        assert (status["state"], status["exit_code"], status["last_step"]) == (b"done", 0, total - 1)
        assert abs(time.time() - status["heartbeat"]) < 60


def test_a_row_is_visible_within_a_second_of_its_writing(writer, tmp_path):
    process = writer(20, 4)
    process.stdout.readline()
    start = time.monotonic()
    with open_live(tmp_path / "run.h5") as file:
        time.sleep(2.5)
        file["train"].refresh()
        assert len(file["train"]) >= 20 * (time.monotonic() - start - 1)


def test_columns_carry_units_and_meanings_and_pandas_takes_a_table(writer, tmp_path):
    process = writer(0, 0.05)
    process.wait()
    with h5py.File(tmp_path / "run.h5", "r") as file:
        assert file.attrs["format"] == b"braid-run" and file.attrs["format_version"] == 1
        assert file.attrs["config"].decode() == "[train]\nsteps = 5  # ε\n" and file.attrs["world_size"] == 2
        assert pandas.Timestamp(file.attrs["created_utc"].decode()).tzinfo is not None
        assert file["train"].attrs["unit:loss"] == b"nats"
        assert file["train"].attrs["meaning:loss"] == b"mean of the batch"
        gain = file["layers/gain"]
        assert gain.attrs["meaning"] == b"by layer" and [axis.label for axis in gain.dims] == ["", ""]
        assert np.array_equal(gain.dims[0]["step"][:], np.arange(len(gain)))
        assert np.array_equal(gain.dims[1]["layer"][:], [0, 1, 2])
        assert file["train"].chunks == (256,) and file["train"].maxshape == (None,) and not file["train"].compression
        assert file["status"].shape == (1,)
        frame = pandas.DataFrame(file["train"][:])
    assert list(frame.columns) == ["step", "loss", "nonfinite", "note"]
    assert frame.loss.isna().sum() == (np.arange(len(frame)) % 7 == 3).sum() > 0


def test_after_kill_at_random_moments_every_row_is_right_and_the_status_is_old(writer, tmp_path):
    moments = random.Random(7)
    counts = []
    for attempt in range(20):
        path = tmp_path / f"{attempt}.h5"
        process = writer(0, 60, path)
        process.stdout.readline()
        time.sleep(moments.uniform(0, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed = time.time()
        with open_live(path) as file:
            counts.append(check_rows(file))
            status = file["status"][0]
            assert status["state"] == b"running" and status["exit_code"] == -1 and status["message"] == b""
            assert killed - 20 < status["heartbeat"] <= killed
            assert status["last_step"] < max(counts[-1], 1)
    assert max(counts) > 1000


def test_a_kill_while_the_file_is_made_leaves_none_or_a_whole_one(writer, tmp_path):
    moments = random.Random(8)
    for attempt in range(20):
        path = tmp_path / f"{attempt}.h5"
        process = writer(0, 60, path)
        time.sleep(moments.uniform(0, 0.03))
        process.kill()
        process.wait()
        if path.exists():
            with open_live(path) as file:
                check_rows(file)
