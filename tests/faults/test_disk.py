# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up, or a folder that may not be written any more, while a run saves: it goes on or stops as
configured, older checkpoints stay whole, and later saves succeed."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import pytest
from fault_run import (BRAID, ENVIRONMENT, REQUEUE, checkpoint, events, log_of, names_in, started, state, status,
                       steps_of, table, train, wait_for, wait_for_checkpoint, words)  # fmt: skip

NOBODY = 65534
PAGE = 4096
ENDLESS = ["train.steps=1000000", "train.eval_every=0", "checkpoint.every=20", "checkpoint.keep=2"]


class SmallDisk:
    """A tmpfs that can be filled but for a few pages."""

    def __init__(self, path, size):
        self.path, self.filler = path, path / "filler"
        path.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "braid-test", str(path)]
        tried = subprocess.run(command, capture_output=True, text=True)
        if tried.returncode != 0:
            pytest.skip(f"a tmpfs cannot be mounted here: {tried.stderr.strip()}")

    def fill_all_but(self, pages):
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while file.write(b"x" * PAGE) == PAGE:
                    pass
            except OSError:
                pass
            file.truncate(max(0, file.tell() - pages * PAGE))

    def free(self):
        self.filler.unlink()


@pytest.fixture
def small_disk():
    disks = []

    def make(path, size):
        if os.geteuid() != 0:
            pytest.skip("mounting a tmpfs needs root")
        disks.append(SmallDisk(pathlib.Path(path), size))
        return disks[-1]

    yield make
    for disk in disks:
        subprocess.run(["umount", "-l", str(disk.path)], check=True)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def failures(out):
    return log_of(out).count("could not be saved")


def wait_for_failures(out, count):
    before = failures(out)
    wait_for(lambda: failures(out) >= before + count, 60, "saves that fail")


def newest_that_verifies(out, step, tmp_path):
    """Goes on from a copy of it for one step, so that every digest is checked."""
    copy = tmp_path / f"proof-{step}"
    said = train(copy, f"train.steps={step + 1}", "train.eval_every=0", options=["--resume", checkpoint(out, step)])
    assert f"step-{step:08d} on 1 rank" in said


def stop(process, out):
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == REQUEUE, log_of(out)


@pytest.mark.parametrize("free_pages", [0, 2, 12, 40])
def test_a_full_disk_costs_no_older_checkpoint_and_later_saves_succeed(tmp_path, small_disk, free_pages):
    """The fewer pages are free, the earlier in a save it fails: folder, shard, manifest."""
    out = tmp_path / "run"
    disk = small_disk(out / "checkpoints", "2m")
    with started(out, *ENDLESS) as process:
        wait_for_checkpoint(out)
        disk.fill_all_but(free_pages)
        wait_for_failures(out, 2)
        kept = steps_of(out)
        before = {step: contents(checkpoint(out, step)) for step in kept}
        wait_for_failures(out, 2)
        assert process.poll() is None and 1 <= len(kept) <= 3
        assert {step: contents(checkpoint(out, step)) for step in kept} == before
        disk.free()
        newest = wait_for_checkpoint(out, kept[-1] + 1)[-1]
        stop(process, out)
    assert not [name for name in names_in(out) if name.endswith(".tmp") or "broken" in name]
    assert [message for message in events(out, "checkpoint_failed") if "No space left on device" in message]
    assert events(out, "checkpoint_saved")
    assert len(steps_of(out)) == 2 and steps_of(out)[-1] == status(out)["last_step"] + 1 >= newest
    for step in steps_of(out):
        newest_that_verifies(out, step, tmp_path)


def test_a_full_disk_ends_the_run_where_it_is_told_to(tmp_path, small_disk):
    out = tmp_path / "run"
    disk = small_disk(out / "checkpoints", "2m")
    with started(out, *ENDLESS, "checkpoint.on_failure=stop") as process:
        wait_for_checkpoint(out)
        disk.fill_all_but(10)
        assert process.wait(60) == 1, log_of(out)
    found = status(out)
    assert (found["state"], found["exit_code"]) == ("stopped", 1) and "checkpoint.on_failure = stop" in found["message"]
    left = ["filler", *(f"step-{step:08d}" for step in steps_of(out))]
    assert names_in(out) == left  # the space is given back
    assert "No space left on device" in events(out, "checkpoint_failed")[0]
    disk.free()
    newest = steps_of(out)[-1]
    said = train(out, *ENDLESS[1:], f"train.steps={newest + 3}")  # and it goes on once there is room
    assert f"resumed: from {out}/checkpoints/step-{newest:08d}" in said
    assert list(table(out, "train")["step"]) == list(range(newest + 3))


def test_a_run_that_is_stopped_while_the_disk_is_full_says_that_it_has_no_checkpoint(tmp_path, small_disk):
    out = tmp_path / "run"
    disk = small_disk(out / "checkpoints", "2m")
    with started(out, *ENDLESS) as process:
        wait_for_checkpoint(out)
        disk.fill_all_but(5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1, log_of(out)
    found = status(out)
    assert found["state"] == "stopped" and found["message"].endswith(", without a checkpoint")
    assert steps_of(out) and steps_of(out)[-1] <= found["last_step"]
    disk.free()
    train(out, *ENDLESS[1:], f"train.steps={found['last_step'] + 3}")
    assert list(table(out, "train")["step"]) == list(range(found["last_step"] + 3))


def test_two_ranks_agree_when_one_cannot_write(tmp_path, small_disk):
    out = tmp_path / "run"
    disk = small_disk(out / "checkpoints", "2m")
    with started(out, *ENDLESS, "checkpoint.on_failure=stop", ranks=2) as process:
        wait_for_checkpoint(out)
        disk.fill_all_but(20)  # room for one shard of two
        assert process.wait(60) == 1, log_of(out)
    assert status(out)["state"] == "stopped" and not [name for name in names_in(out) if name.endswith(".tmp")]


def test_a_disk_full_of_everything_loses_no_row_and_saves_again(tmp_path, small_disk):
    """run.h5 lies on it as well: a checkpoint is committed only once the rows before it are on disk."""
    disk = small_disk(tmp_path / "disk", "6m")
    out = disk.path / "run"
    with started(out, *ENDLESS) as process:
        wait_for_checkpoint(out)
        disk.fill_all_but(1)
        wait_for_failures(out, 2)
        kept = steps_of(out)
        disk.free()
        wait_for_checkpoint(out, kept[-1] + 1)
        stop(process, out)
    rows = table(out, "train")["step"]
    assert list(rows) == list(range(status(out)["last_step"] + 1)) and steps_of(out)[-1] == len(rows)
    assert events(out, "checkpoint_failed")


def test_a_start_on_a_full_disk_changes_nothing(tmp_path, small_disk):
    disk = small_disk(tmp_path / "disk", "4m")
    out = disk.path / "run"
    train(out)
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != "run.lock"}
    for pages, code in ((0, 2), (1, 1), (8, 1)):  # the configuration, then the run file
        disk.fill_all_but(pages)
        said = train(out, code=code, options=["--resume", out])
        assert "No space left on device" in said and len(said.strip().splitlines()) == 1, said
        after = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != "run.lock"}
        assert after == before and steps_of(out) == [4, 8, 12, 16, 20]
    disk.free()
    train(out, "train.steps=22")
    assert list(table(out, "train")["step"]) == list(range(22))


def as_nobody(command):
    """Root may write anywhere: someone else must try."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]


@pytest.fixture
def open_folder():
    """A folder that nobody in particular owns: pytest's own are closed to others."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="braid-faults-"))
    folder.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        tried = subprocess.run(as_nobody([str(BRAID), "--version"]), capture_output=True, text=True, env=ENVIRONMENT)
        if tried.returncode != 0:
            pytest.skip(f"another user cannot start {BRAID}: {tried.stderr.strip()}")
    yield folder
    shutil.rmtree(folder)


def test_a_folder_that_may_not_be_written_any_more(open_folder):
    out = open_folder / "run"
    root = out / "checkpoints"
    with started(out, command=as_nobody(words(out, *ENDLESS))) as process:
        wait_for_checkpoint(out)
        root.chmod(0o555)
        wait_for_failures(out, 2)
        kept = steps_of(out)
        assert process.poll() is None and kept
        root.chmod(0o755)
        wait_for_checkpoint(out, kept[-1] + 1)
        stop(process, out)
    assert "Permission denied" in events(out, "checkpoint_failed")[0]
    assert not [name for name in names_in(out) if name.endswith(".tmp")]
    assert state(root / f"step-{steps_of(out)[-1]:08d}")["step"] == status(out)["last_step"] + 1
