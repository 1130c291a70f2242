# SPDX-License-Identifier: Apache-2.0
"""A sweep ends with the same table whatever happened on the way."""

import json
import os
import signal
import subprocess
import time

import h5py
import numpy as np
import pytest
from cli_run import BRAID, DEMO, ENVIRONMENT, SMALL, braid, one_line, sets

GRID = SMALL + ["train.steps=8", "sweep.layers=[2,3]", "sweep.residual=['residual','mhc']", "sweep.seeds=[0]"]
NAMES = ["2l_baseline_s0", "2l_mhc_s0", "3l_baseline_s0", "3l_mhc_s0"]


def losses(out):
    found = {}
    for name in NAMES:
        with h5py.File(out / name / "run.h5", "r", locking=False, swmr=True) as f:
            assert f["status"][0]["state"] == b"done", name
            found[name] = f["train"]["loss"][:]
    return found


def states(out):
    return {run["name"]: (run["state"], run["attempts"]) for run in json.loads((out / "sweep.json").read_text())["runs"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "whole"
    done = braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(GRID))
    assert done.returncode == 0, done.stderr + done.stdout
    return losses(out)


def same(a, b):
    return all(np.abs(a[name] - b[name]).max() < 1e-5 for name in NAMES)


def test_runs_under_mpirun_and_side_by_side_give_the_same_losses(tmp_path, whole):
    inside = tmp_path / "inside"
    assert braid("sweep", DEMO, "--out", inside, "--device", "cpu", *sets(GRID + ["sweep.side_by_side=2"]), ranks=2).returncode == 0
    assert same(losses(inside), whole)
    driver = tmp_path / "driver"
    done = braid("sweep", DEMO, "--out", driver, "--device", "cpu", "--ranks", "4", *sets(GRID + ["sweep.side_by_side=2"]))
    assert done.returncode == 0, done.stderr + done.stdout
    assert same(losses(driver), whole)


def test_a_sweep_killed_and_started_again_ends_with_the_same_table(tmp_path, whole):
    out = tmp_path / "out"
    grid = sets(GRID + ["checkpoint.at_end=false"])  # without a checkpoint a death uses up an attempt
    command = [BRAID, "sweep", DEMO, "--out", out, "--device", "cpu", *grid]
    killed = 0
    for delay in (1.2, 2.2):
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(delay)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed > 0
    # A run may have been killed twice: its record says so and a third start would call it failed.
    first = {name for name, (state, attempts) in states(out).items() if attempts >= 2 and state == "running"}
    done = braid("sweep", DEMO, "--out", out, "--device", "cpu", *grid)
    if first:
        assert done.returncode == 1 and all(states(out)[name][0] == "failed" for name in first)
    else:
        assert done.returncode == 0, done.stderr + done.stdout
        assert same(losses(out), whole)


def wait_for_new_file(path, since):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if path.exists() and path.stat().st_mtime > since + 0.5:
            return
    raise AssertionError(f"{path} was not written")


def test_runs_die_with_a_killed_driver_and_being_stopped_uses_up_no_attempt(tmp_path, whole):
    out = tmp_path / "out"
    long_runs = [a for a in GRID if a != "train.steps=8"] + ["train.steps=1000000"]
    command = [BRAID, "sweep", DEMO, "--out", out, "--device", "cpu", *sets(long_runs)]
    for _ in range(3):
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_new_file(out / NAMES[0] / "run.h5", time.time())
        process.kill()  # the driver alone: its child hears of it from the kernel
        process.wait()
        time.sleep(1.5)
        with h5py.File(out / NAMES[0] / "run.h5", "r", locking=False, swmr=True) as f:
            assert f["status"][0]["state"] == b"preempted"
    assert states(out)[NAMES[0]] == ("running", 1)


def test_finished_runs_are_skipped(tmp_path, whole):
    out = tmp_path / "out"
    assert braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(GRID)).returncode == 0
    before = {name: (out / name / "run.h5").stat().st_mtime_ns for name in NAMES}
    assert braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(GRID)).returncode == 0
    assert {name: (out / name / "run.h5").stat().st_mtime_ns for name in NAMES} == before


def test_the_driver_survives_a_run_that_dies_and_names_it(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("too short")  # nothing can be held out: each run fails by itself
    done = braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(GRID + ["data.kind=bytes", f"data.path='{tmp_path}/text'"]))
    assert done.returncode == 1
    assert set(states(out).values()) == {("failed", 2)}
    assert "failed" in done.stdout


def test_a_diverged_run_is_recorded_and_the_sweep_goes_on(tmp_path):
    out = tmp_path / "out"
    grid = [a for a in GRID if not a.startswith("sweep.")] + ["sweep.layers=[32,2]", "sweep.residual=['hc']", "train.steps=2"]
    assert braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(grid)).returncode == 0
    assert states(out) == {"32l_hc_s42": ("diverged", 1), "2l_hc_s42": ("done", 1)}


def test_inside_mpi_a_failure_all_ranks_agree_on_is_recorded_and_the_sweep_goes_on(tmp_path):
    out = tmp_path / "out"
    grid = GRID + ["sweep.batch=[1,4]"]  # one sample cannot be split over two ranks
    done = braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(grid), ranks=2)
    assert done.returncode == 0, done.stderr
    assert states(out)["3l_mhc_s0"] == ("done", 1)
    assert "cannot be split" in done.stderr


def test_another_sweeps_folder_is_refused(tmp_path):
    out = tmp_path / "out"
    assert braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(GRID + ["sweep.layers=[2]", "sweep.residual=['mhc']"])).returncode == 0
    line = one_line(braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(GRID)), 2)
    assert "holds another sweep" in line


def test_runs_made_one_by_one_at_the_same_time_are_the_sweep(tmp_path, whole):
    out = tmp_path / "out"
    words = [BRAID, "sweep", DEMO, "--out", out, "--device", "cpu", *sets(GRID)]
    jobs = [subprocess.Popen([*words, "--only", str(k)], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            for k in range(1, len(NAMES) + 1)]  # fmt: skip
    for job in jobs:
        messages = job.communicate(timeout=120)[1]
        assert job.returncode == 0, messages
    assert same(losses(out), whole)
    assert list(states(out)) == NAMES and not list(out.glob("sweep.json.*"))
    done = braid("sweep", DEMO, "--out", out, "--device", "cpu", *sets(GRID))  # takes over what they did
    assert done.returncode == 0 and {state for state, _ in states(out).values()} == {"done"}


def test_one_run_of_a_sweep_ends_as_a_run_does(tmp_path):
    words = ["sweep", DEMO, "--out", tmp_path / "out", "--device", "cpu", *sets(GRID)]
    assert braid(*words, "--only", "2", ranks=2).returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["2l_mhc_s0", "sweep.json"]
    assert "ended already" in braid(*words, "--only", "2").stdout
    assert "--only 5: this sweep has the runs 1 to 4" in one_line(braid(*words, "--only", "5"), 2)
    assert "--only needs --out" in one_line(braid(*words[:2], *words[4:], "--only", "1"), 2)
    other = [assignment.replace("[2,3]", "[2,4]") for assignment in GRID]
    refused = braid(*words[:4], *sets(other), "--only", "1")
    assert "holds another sweep" in one_line(refused, 2)
