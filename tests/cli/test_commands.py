# SPDX-License-Identifier: Apache-2.0
"""What each command prints and leaves behind."""

import json
import os
import signal
import subprocess
import time

import h5py
import numpy as np
import pandas
from cli_run import BRAID, DEMO, ENVIRONMENT, ROOT, SMALL, braid, one_line, sets


def test_a_run_leaves_what_the_documentation_promises(tmp_path):
    out = tmp_path / "run"
    done = braid("train", DEMO, "--out", out, *sets(SMALL), ranks=2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert {p.name for p in out.iterdir()} == {"run.h5", "config.toml", "log.jsonl", "checkpoints", "run.lock"}
    with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
        wanted = {"format", "format_version", "run_id", "created_utc", "config", "config_sha256", "git_commit", "host",
                  "world_size", "mesh", "torch_version", "nccl_version", "cuda_version", "device"}  # fmt: skip
        assert wanted <= set(f.attrs)
        assert f.attrs["world_size"] == 2
        train = pandas.DataFrame(f["train"][:])
        assert list(train.step) == [0, 1, 2] and list(train.tokens) == [64, 128, 192]
        assert f["status"][0]["state"] == b"done" and f["status"][0]["exit_code"] == 0
        assert all(f"unit:{name}" in f["train"].attrs and f"meaning:{name}" in f["train"].attrs for name in train.columns)
    events = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert all({"time", "level", "rank"} <= set(e) for e in events)


def test_the_written_configuration_repeats_the_run(tmp_path):
    assert braid("train", DEMO, "--out", tmp_path / "a", *sets(SMALL)).returncode == 0
    assert braid("train", tmp_path / "a" / "config.toml", "--out", tmp_path / "b").returncode == 0
    losses = [h5py.File(tmp_path / name / "run.h5", "r", locking=False, swmr=True)["train"]["loss"] for name in "ab"]
    assert np.array_equal(*losses)


def test_every_shipped_configuration_reads(tmp_path):
    files = sorted((ROOT / "configs").rglob("*.toml"))
    assert len(files) >= 16
    for file in files:
        assert braid("config", file).returncode == 0, file


def test_values_of_the_depth_sweep_are_the_published_ones():
    import tomllib

    for depth, batch in ((12, 32), (24, 32), (48, 16)):
        for variant, residual in (("baseline", "residual"), ("hc", "hc"), ("mhc", "mhc")):
            c = tomllib.loads((ROOT / f"configs/mhc/tiny_{depth}l_{variant}.toml").read_text())
            m, t, o = c["model"], c["train"], c["optim"]
            assert (m["layers"], t["batch"], m["residual"], t["steps"]) == (depth, batch, residual, 800)
            assert (m["width"], m["heads"], m["mlp_width"], m["context"], m["vocabulary"]) == (256, 4, 1024, 128, 256)
            assert (o["learning_rate"], o["weight_decay"], t["seed"], m["sinkhorn_iterations"]) == (2e-3, 0.0, 0, 20)


def test_dry_run_tells_the_plan_and_leaves_nothing(tmp_path):
    done = braid("train", DEMO, "--out", tmp_path / "run", "--dry-run")
    assert done.returncode == 0
    assert "parameters   4833664" in done.stdout and "activations" in done.stdout
    assert not (tmp_path / "run").exists()
    assert "optimiser 36.9 MiB" in done.stdout  # 8 bytes a weight
    rounded = braid("train", DEMO, "--out", tmp_path / "run", "--dry-run", "--set", "optim.kind=adamw8bit")
    assert "optimiser 9.4 MiB" in rounded.stdout  # 2.03


def test_config_lists_every_key():
    keys = braid("config", "--keys").stdout
    for key in ("model.layers", "train.steps", "optim.learning_rate", "data.path", "sweep.side_by_side"):
        assert key in keys


def test_doctor_measures_between_ranks():
    alone, two = braid("doctor", "--device", "cpu"), braid("doctor", "--device", "cpu", ranks=2)
    assert alone.returncode == 0 and "LibTorch" in alone.stdout and "HDF5" in alone.stdout
    assert two.returncode == 0 and "over mpi" in two.stdout and "GB/s" in two.stdout and "ranks 0-1" in two.stdout


def test_status_tells_of_a_killed_run(tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen([BRAID, "train", DEMO, "--out", out, "--set", "train.steps=10000"], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    rows = wait_for_rows(out, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads(braid("status", out, "--json").stdout)[0]["state"] == "running"
    with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
        train = f["train"][:]
    assert len(train) >= rows
    assert list(train["step"]) == list(range(len(train))) and np.isfinite(train["loss"]).all() and (train["loss"] > 0).all()


def wait_for_rows(out, count):
    """Reads the live file until it holds so many rows."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.3)
        try:
            with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
                if len(f["train"]) >= count:
                    return len(f["train"])
        except (OSError, KeyError):
            continue
    raise AssertionError("no rows appeared")


def test_a_signal_stops_all_ranks_after_the_same_step(tmp_path):
    out = tmp_path / "run"
    command = ["mpirun", "-q", "--oversubscribe", "-n", "2", BRAID, "train", str(DEMO), "--out", str(out), "--set", "train.steps=10000"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_rows(out, 2)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=60)
    assert process.returncode == 85
    with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
        assert f["status"][0]["state"] == b"preempted"
        assert f["status"][0]["last_step"] == f["train"]["step"][-1]


def test_a_run_with_nan_ends_as_diverged_and_skipping_keeps_its_weights(tmp_path):
    deep = ["model.residual=hc", "model.layers=32", "model.width=32", "model.mlp_width=48", "model.context=16", "train.batch=4"]
    done = braid("train", DEMO, "--out", tmp_path / "a", *sets(deep + ["train.steps=3"]))
    assert done.returncode == 0 and "diverged" in done.stdout
    done = braid("train", DEMO, "--out", tmp_path / "b", *sets(deep + ["train.nonfinite=skip", "train.nonfinite_limit=4"]))
    with h5py.File(tmp_path / "b" / "run.h5", "r", locking=False, swmr=True) as f:
        assert f["status"][0]["state"] == b"diverged" and len(f["train"]) == 4
        assert list(f["train"]["nonfinite_total"]) == [1, 2, 3, 4]
        assert np.isfinite(f["train"]["gain_proxy_log10_max_entry"]).all()  # no NaN reached the weights
        assert [e["kind"] for e in f["events"]] == [b"skipped_update"] * 4


def test_help_needs_no_configuration():
    for command in ("train", "sweep", "data", "doctor", "status", "config"):
        done = braid(command, "--help")
        assert done.returncode == 0 and command in done.stdout
    assert "usage" in braid("--help").stdout
    assert "no run folder given" in one_line(braid("status"), 2)
