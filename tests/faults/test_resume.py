# SPDX-License-Identifier: Apache-2.0
"""A run that goes on is the run that was never broken; what would make another run of it is refused."""

import os
import pathlib
import shutil
import subprocess
import time

import numpy as np
import pytest
from fault_run import (BRAID, ENVIRONMENT, MPIRUN, assert_rows_once, assert_same_bits, checkpoint, events, log_of,
                       names_in, open_h5, started, status, steps_of, table, train, wait_for_checkpoint,
                       words)  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for i in range(30):
        (folder / f"{i}.txt").write_text(f"The {i} quick brown foxes jump over {i * i} lazy dogs. " * 6)
    return folder


def broken_off(out, *overrides, ranks=1):
    """Eleven steps and no checkpoint at the end: 8, 9 and 10 are lost."""
    train(out, *overrides, "train.steps=11", "checkpoint.at_end=false", ranks=ranks)
    assert steps_of(out) == [4, 8] and len(table(out, "train")) == 11


@pytest.mark.parametrize(
    "ranks, overrides",
    [
        (1, ["data.kind=bytes", "model.vocabulary=256", "train.precision=bf16"]),
        (1, ["data.kind=incrementing", "model.dialect=llama", "model.residual=residual"]),
        (2, ["data.kind=incrementing", "train.precision=bf16"]),
        (2, ["data.kind=copy", "optim.weight_decay=0.1", "optim.clip_norm=0.5"]),
        (4, ["data.kind=copy"]),
        (1, ["optim.kind=adamw8bit", "optim.weight_decay=0.1", "model.width=48"]),
        (2, ["optim.kind=adamw8bit", "optim.paged=true", "train.precision=bf16", "model.width=48"]),
    ],
    ids=["1-bytes-bf16", "1-incrementing-llama", "2-incrementing-bf16", "2-copy", "4-copy", "1-adamw8bit", "2-adamw8bit"],
)
def test_the_same_ranks_give_the_same_bits(tmp_path, unbroken, text, ranks, overrides):
    if "data.kind=bytes" in overrides:
        overrides = [*overrides, f'data.path="{text}"']
    reference = unbroken(*overrides, ranks=ranks)
    out = tmp_path / "run"
    broken_off(out, *overrides, ranks=ranks)
    said = train(out, *overrides, ranks=ranks)
    assert f"resumed: from {checkpoint(out, 8)} on {ranks} rank" in said
    assert_same_bits(out, reference, 20)
    assert_rows_once(out, 20, sessions=2, held_out="data.kind=incrementing" not in overrides)
    assert list(table(out, "sessions")["first_step"]) == [0, 8]
    assert status(out)["state"] == "done"


def test_other_numbers_of_ranks_give_the_same_losses(tmp_path, unbroken):
    reference = unbroken("train.batch=12")
    out = tmp_path / "run"
    sizes = [4, 2, 3, 1, 4]
    for i, ranks in enumerate(sizes):
        train(out, "train.batch=12", f"train.steps={4 * (i + 1)}", ranks=ranks)
        assert len(list(checkpoint(out, 4 * (i + 1)).glob("shard-*"))) == ranks
    assert_rows_once(out, 20, sessions=5)
    assert list(table(out, "sessions")["world_size"]) == sizes
    for name, column in (("train", "loss"), ("train", "grad_norm"), ("eval", "loss")):
        assert np.abs(table(out, name)[column] - table(reference, name)[column]).max() < 1e-5, column
    assert table(reference, "train")["loss"][0] - table(reference, "train")["loss"][19] > 0.05  # it does train


def test_a_run_that_has_ended_is_left_as_it_is(tmp_path):
    out = tmp_path / "run"
    train(out, "train.steps=6")
    before = (out / "run.h5").read_bytes(), names_in(out)
    said = train(out, "train.steps=6")
    assert "done: ended already, after 6 steps" in said
    assert ((out / "run.h5").read_bytes(), names_in(out)) == before
    said = train(out, "train.steps=4")  # fewer are no reason to go on either
    assert "ended already, after 6 steps" in said


class TestWhereToResume:
    @pytest.fixture
    def out(self, tmp_path, unbroken):
        """A finished run of 20 steps with checkpoints 4, 8, …, 20."""
        shutil.copytree(unbroken(), tmp_path / "run")
        return tmp_path / "run"

    def test_never_refuses_a_folder_with_a_run(self, out, tmp_path):
        assert f"{out}: holds another run" in train(out, options=["--resume", "never"], code=2)
        assert steps_of(out) == [4, 8, 12, 16, 20]
        train(tmp_path / "new", "train.steps=2", options=["--resume", "never"])
        assert len(table(tmp_path / "new", "train")) == 2

    def test_an_older_checkpoint_of_the_same_run_sets_later_ones_aside(self, out, unbroken):
        train(out, options=["--resume", checkpoint(out, 8)])
        assert_same_bits(out, unbroken(), 20)
        assert_rows_once(out, 20, sessions=2)
        aside = [f"step-{step:08d}.broken-1" for step in (12, 16, 20)]
        assert [name for name in names_in(out) if "broken" in name] == aside
        assert events(out, "checkpoint_set_aside") == [f"checkpoints/step-{step:08d}" for step in (20, 16, 12)]

    def test_the_folder_of_the_same_run_takes_its_newest(self, out):
        said = train(out, "train.steps=22", options=["--resume", out])
        assert f"resumed: from {checkpoint(out, 20)}" in said
        assert_rows_once(out, 22, sessions=2)

    @pytest.mark.parametrize("which", ["run", "checkpoint"])
    def test_another_run_gives_weights_to_a_new_one(self, out, tmp_path, unbroken, which):
        origin = out if which == "run" else checkpoint(out, 12)
        step = 20 if which == "run" else 12
        train(tmp_path / "branch", "train.steps=24", options=["--resume", origin])
        assert list(table(tmp_path / "branch", "train")["step"]) == list(range(step, 24))
        with open_h5(out / "run.h5") as old, open_h5(tmp_path / "branch" / "run.h5") as new:
            assert old.attrs["run_id"] != new.attrs["run_id"]
        if which == "checkpoint":
            expected = table(unbroken(), "train")["loss"][12:]
            assert np.array_equal(table(tmp_path / "branch", "train")["loss"][:8], expected)

    def test_what_is_neither_is_refused(self, out, tmp_path):
        said = train(tmp_path / "new", options=["--resume", tmp_path / "nothing"], code=2)
        assert f"--resume {tmp_path / 'nothing'}: neither a checkpoint nor a run with checkpoints" in said
        assert f"{out}: holds another run" in train(out, options=["--resume", tmp_path], code=2)

    def test_a_trailing_slash_and_a_relative_path_are_the_same_folder(self, out, tmp_path):
        os.chdir(tmp_path)
        train(out, "train.outlier=rewind", options=["--resume", "run/checkpoints/step-00000016/"])
        assert_rows_once(out, 20, sessions=2)
        assert "step-00000016.broken-1" not in names_in(out)  # it is known to be good: no need to save it again


@pytest.mark.parametrize("version", [1])
def test_a_checkpoint_of_every_released_version_goes_on(tmp_path, version):
    """As if it had been made today: the same losses as a run from step 0."""
    data = pathlib.Path(__file__).parent / "data"
    config = data / f"checkpoint-v{version}.toml"
    train(tmp_path / "whole", config=config)
    said = train(tmp_path / "run", config=config, options=["--resume", data / f"checkpoint-v{version}"])
    assert f"resumed: from {data / f'checkpoint-v{version}'} on 1 rank" in said
    found, expected = table(tmp_path / "run", "train"), table(tmp_path / "whole", "train")[4:]
    assert list(found["step"]) == [4, 5] == list(expected["step"])
    assert np.abs(found["loss"] - expected["loss"]).max() < 1e-5


@pytest.mark.parametrize(
    "change, key",
    [
        ("model.width=18", "model.width 16 -> 18"),
        ("data.kind=induction", 'data.kind "copy" -> "induction"'),
        ("train.seed=1", "train.seed 0 -> 1"),
        ("optim.learning_rate=0.01", "optim.learning_rate 0.005 -> 0.01"),
        ("train.batch=4", "train.batch 8 -> 4"),
    ],
)
def test_what_makes_another_run_is_refused(tmp_path, unbroken, change, key):
    out = tmp_path / "run"
    shutil.copytree(unbroken(), out)
    before = (out / "run.h5").read_bytes(), (out / "config.toml").read_bytes()
    said = train(out, "train.steps=24", change, code=2)
    assert "this run began with another configuration: " + key + ";" in said, said
    assert "--allow-config-change" in said and "Traceback" not in said
    assert ((out / "run.h5").read_bytes(), (out / "config.toml").read_bytes()) == before


def test_a_change_that_is_allowed_by_the_user_is_recorded(tmp_path, unbroken):
    out = tmp_path / "run"
    shutil.copytree(unbroken(), out)
    train(out, "train.steps=24", "optim.learning_rate=0.01", options=["--allow-config-change"])
    assert events(out, "config_change_allowed") == ["optim.learning_rate 0.005 -> 0.01"]
    assert list(table(out, "train")["learning_rate"][[19, 20]]) == [0.005, 0.01]


def test_steps_and_intervals_may_change(tmp_path, unbroken):
    out = tmp_path / "run"
    shutil.copytree(unbroken(), out)
    train(out, "train.steps=24", "train.eval_every=6", "checkpoint.every=3", "checkpoint.keep=2", "train.micro_batch=4")
    (message,) = events(out, "config_changed")
    for part in ("every 4 -> 3", "keep 9 -> 2", "eval_every 5 -> 6", "micro_batch 0 -> 4", "steps 20 -> 24"):
        assert part in message
    assert list(table(out, "train")["step"]) == list(range(24))
    assert steps_of(out)[-2:] == [21, 24]


def test_other_shards_are_refused_wherever_they_lie(tmp_path, text):
    out, given = tmp_path / "run", ["data.kind=tokens", "model.vocabulary=256", "train.eval_every=0"]

    def shards(name, first_text):
        """A folder of shards of its own."""
        folder = tmp_path / f"text-{name}"
        shutil.copytree(text, folder)
        for path in sorted(folder.iterdir())[:9]:
            path.write_text(first_text * 20)
        command = [BRAID, "data", "bytes", folder, "--out", tmp_path / name]
        subprocess.run(command, check=True, capture_output=True, env=ENVIRONMENT)
        return f'data.path="{tmp_path / name}"'

    one, other = shards("one", "One text and "), shards("other", "Another one. ")
    train(out, *given, one, "train.steps=4")
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    train(out, *given, f'data.path="{tmp_path / "moved"}"', "train.steps=6")
    assert len(table(out, "train")) == 6
    said = train(out, *given, other, "train.steps=8", code=2)
    assert "trained on other data: data_digest crc32c:" in said
    train(out, *given, other, "train.steps=8", options=["--allow-config-change"])
    assert events(out, "config_change_allowed")[0].startswith("data_digest crc32c:")


def test_a_second_job_on_the_folder_is_refused_and_the_first_named(tmp_path):
    out = tmp_path / "run"
    with started(out, "train.steps=100000", "train.eval_every=0", "checkpoint.every=50") as first:
        wait_for_checkpoint(out)
        said = train(out, "train.steps=100000", code=2)
        host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
        assert f"{out}: in use by process {first.pid} on {host}" in said
        assert first.poll() is None  # and was not disturbed
    assert "in use by" not in log_of(out)


def can_make_mounts():
    if os.geteuid() != 0:
        return False
    tried = subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True)
    return tried.returncode == 0


@pytest.mark.skipif(not can_make_mounts(), reason="needs root and the right to mount")
def test_a_folder_that_is_not_shared_is_found_at_once(tmp_path):
    """The second rank has a disk of its own where OUT should be."""
    out = tmp_path / "disk" / "run"
    out.mkdir(parents=True)
    command = words(out)
    (out.parent / "tiny.toml").rename(tmp_path / "tiny.toml")
    command[2] = str(tmp_path / "tiny.toml")
    hidden = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none "{out.parent}" && exec "$@"', "sh", *command]
    parts = [*MPIRUN, "-n", "1", *command, ":", "-n", "1", *hidden]
    begin = time.monotonic()
    done = subprocess.run(parts, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert time.monotonic() - begin < 30
    said = done.stderr
    assert f"{out}: rank 1 on " in said and "--out must be on a file system that all machines share" in said
    assert not (out / "run.h5").exists() and not list(out.glob(".shared-*"))
