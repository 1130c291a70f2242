# SPDX-License-Identifier: Apache-2.0
"""Bad input is one clear line and the right exit code, and leaves nothing that looks like a run."""

import json
import os
import subprocess

import pytest
from cli_run import DEMO, ENVIRONMENT, SMALL, braid, one_line, sets


@pytest.mark.parametrize("ranks", [0, 2])
@pytest.mark.parametrize(
    "assignment, expected",
    [
        ("model.heds=4", ["--set model.heds=4", "unknown key model.heds", "model.heads"]),
        ("train.step=4", ["unknown key train.step", "train.steps"]),
        ('train.steps="many"', ["train.steps", "expected an integer", "many"]),
        ("train.steps=0", ["train.steps", "at least 1", "found 0"]),
        ("model.heads=5", ["model.heads", "5 heads do not divide the width"]),
        ("model.residual=hcc", ["model.residual", "residual, hc, mhc", "hcc"]),
        ("train=3", ["train", "expected a table"]),
        ("nonsense", ["--set nonsense", "key=value"]),
    ],
)
def test_a_wrong_key_or_value_names_itself(tmp_path, assignment, expected, ranks):
    out = tmp_path / "run"
    line = one_line(braid("train", DEMO, "--out", out, "--set", assignment, ranks=ranks), 2)
    assert all(part in line for part in expected), line
    assert not out.exists()


def test_a_wrong_line_in_a_file_is_named(tmp_path):
    config = tmp_path / "mine.toml"
    config.write_text("[train]\nsteps = 5\n\n[model]\nlayrs = 3\n")
    assert f"{config}:5: unknown key model.layrs; nearest known key: model.layers" in one_line(braid("train", config), 2)
    config.write_text("[train\nsteps = 5\n")
    assert f"{config}:1: " in one_line(braid("train", config), 2)
    assert "no such configuration file" in one_line(braid("train", tmp_path / "none.toml"), 2)


def test_an_unknown_command_or_option_is_named():
    assert "nearest: train" in one_line(braid("trian"), 2)
    line = one_line(braid("train", DEMO, "--devise", "cpu"), 2)
    assert "--devise" in line and "nearest: --device" in line
    assert "expected auto, cpu or cuda" in one_line(braid("train", DEMO, "--device", "gpu"), 2)


def test_an_output_folder_with_another_run_is_refused_and_left_alone(tmp_path):
    out = tmp_path / "run"
    assert braid("train", DEMO, "--out", out, *sets(SMALL)).returncode == 0
    contents = lambda: {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.name != "run.lock"}
    before = contents()
    for ranks in (0, 2):
        never = braid("train", DEMO, "--out", out, *sets(SMALL), "--resume", "never", ranks=ranks)
        assert "holds another run" in one_line(never, 2)
        other = braid("train", DEMO, "--out", out, *sets(SMALL), "--set", "model.layers=3", ranks=ranks)
        assert "another configuration: model.layers 2 -> 3" in one_line(other, 2)
    assert contents() == before


@pytest.mark.parametrize("ranks", [0, 2])
def test_an_unwritable_output_is_one_line(tmp_path, ranks):
    (tmp_path / "file").write_text("in the way")
    line = one_line(braid("train", DEMO, "--out", tmp_path / "file" / "run", *sets(SMALL), ranks=ranks), 2)
    assert "cannot be created" in line


def test_more_ranks_than_samples_is_one_line_on_all_ranks(tmp_path):
    done = braid("train", DEMO, "--out", tmp_path / "run", *sets(SMALL), "--set", "train.batch=2", ranks=3)
    assert "2 samples cannot be split over 3 ranks" in one_line(done, 2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ranks", [0, 2])
def test_text_that_is_missing_or_empty_is_one_line(tmp_path, ranks):
    (tmp_path / "empty").mkdir()
    for path, words in [(tmp_path / "empty", "holds no text files"), (tmp_path / "none", "no such folder of text"), ("", "data.path")]:
        done = braid("train", DEMO, "--out", tmp_path / f"run{ranks}", *sets(SMALL + ["data.kind=bytes", f'data.path="{path}"']), ranks=ranks)
        assert words in one_line(done, 2)
        assert not (tmp_path / f"run{ranks}" / "run.h5").exists()
        # Nothing may keep the same command from working once the text is there.
        subprocess.run(["rm", "-rf", tmp_path / f"run{ranks}"], check=True)


def test_a_cut_token_shard_is_one_line(tmp_path):
    (tmp_path / "text").mkdir()
    for i in range(40):
        (tmp_path / "text" / f"{i}.txt").write_text(f"file {i} " * 50)
    assert braid("data", "bytes", tmp_path / "text", "--out", tmp_path / "shards").returncode == 0
    shard = tmp_path / "shards" / "train.h5"
    os.truncate(shard, shard.stat().st_size - 1000)
    done = braid("train", DEMO, "--out", tmp_path / "run", *sets(SMALL + ["data.kind=bytes", f'data.path="{tmp_path}/shards"']))
    assert str(shard) in one_line(done, 2)


def test_a_run_that_cannot_fit_says_by_kind_what_it_needs(tmp_path):
    done = braid("train", DEMO, "--out", tmp_path / "run", "--set", "model.width=65536", "--set", "model.mlp_width=262144")
    line = one_line(done, 1)
    assert all(word in line for word in ["rank 0 on cpu", "weights", "gradients", "optimiser", "activations", "would help"])
    assert not (tmp_path / "run").exists()


def test_memory_that_runs_out_on_the_way_is_one_line_and_a_failed_status(tmp_path):
    out = tmp_path / "run"
    # The plan is an estimate; a process limit makes the allocation itself fail.
    command = f"ulimit -v 9000000; exec {braid.__globals__['BRAID']} train {DEMO} --out {out} --set train.batch=500 --set train.steps=1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    line = one_line(done, 1)
    assert "step 0: out of memory" in line and "activations" in line and "micro_batch" in line
    assert json.loads(braid("status", out, "--json").stdout)[0]["state"] == "failed"


def test_a_full_disk_at_the_start_is_one_line(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "none", small], capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        done = braid("train", DEMO, "--out", small / "run", *sets(SMALL))
        line = one_line(done, done.returncode)
        assert done.returncode in (1, 2) and "run" in line
    finally:
        subprocess.run(["umount", small], check=True)


def test_mpirun_with_a_broken_host_fails_at_once(tmp_path):
    command = ["mpirun", "-q", "--host", "no-such-host.invalid", "-n", "2", braid.__globals__["BRAID"], "train", str(DEMO), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode != 0
    assert not (tmp_path / "run").exists()


def test_a_world_of_one_under_a_launcher_of_two_is_explained(tmp_path):
    env = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}
    done = braid("train", DEMO, "--out", tmp_path / "run", *sets(SMALL), env=env)
    assert done.returncode == 2
    assert "srun --mpi=pmix" in done.stderr
