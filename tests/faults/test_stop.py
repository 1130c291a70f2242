# SPDX-License-Identifier: Apache-2.0
"""Signals and the time limit stop all ranks after the same step, with a checkpoint, from which the run goes on."""

import os
import signal
import time

import pytest
from fault_run import (REQUEUE, assert_rows_once, assert_same_bits, checkpoint, log_of, ranks_of, started, status,
                       steps_of, table, train, wait_for, wait_for_checkpoint)  # fmt: skip

STEPS = 240
LONG = [f"train.steps={STEPS}", "checkpoint.every=16", "checkpoint.keep=2"]
# A step takes a second or so.
SLOW = ["model.width=256", "model.heads=4", "model.mlp_width=512", "model.context=128", "train.batch=32",
        "train.eval_every=0", "train.steps=100000", "checkpoint.every=0"]  # fmt: skip


def assert_preempted(out, reason):
    found = status(out)
    assert (found["state"], found["exit_code"]) == ("preempted", REQUEUE) and reason in found["message"]
    assert steps_of(out)[-1] == found["last_step"] + 1 == len(table(out, "train"))
    assert f"the same command with --out {out} goes on from here" in log_of(out)


@pytest.mark.parametrize(
    "ranks, target, number",
    [
        (1, 0, signal.SIGUSR1), (1, 0, signal.SIGTERM), (1, 0, signal.SIGINT),
        (2, "mpirun", signal.SIGUSR1), (2, 0, signal.SIGINT), (2, 1, signal.SIGTERM),
    ],
)  # fmt: skip
def test_a_signal_stops_the_run_with_a_checkpoint(tmp_path, unbroken, ranks, target, number):
    """To a rank, any of them, or to mpirun, which passes SIGUSR1 on to all."""
    out = tmp_path / "run"
    with started(out, *LONG, ranks=ranks) as process:
        wait_for_checkpoint(out)
        victim = process.pid if target == "mpirun" else sorted(ranks_of(process))[target]
        os.kill(victim, number)
        assert process.wait(60) == REQUEUE, log_of(out)
    stopped = status(out)["last_step"]
    assert 15 <= stopped < STEPS - 1
    assert_preempted(out, f"stopped on request after step {stopped}")
    train(out, *LONG, ranks=ranks)
    assert_same_bits(out, unbroken(*LONG, ranks=ranks), STEPS)
    assert_rows_once(out, STEPS, sessions=2)
    assert list(table(out, "sessions")["first_step"]) == [0, stopped + 1]


def test_signals_before_the_first_step_has_ended_stop_after_it(tmp_path):
    """As soon as the folder is taken, long before there is anything to save."""
    out = tmp_path / "run"
    with started(out, *SLOW) as process:
        wait_for((out / "run.lock").exists)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == REQUEUE, log_of(out)
    assert status(out)["last_step"] == 0
    assert_preempted(out, "stopped on request after step 0")


def test_a_second_interrupt_leaves_at_once(tmp_path):
    out = tmp_path / "run"
    with started(out, *SLOW, "train.batch=512") as process:
        wait_for((out / "run.h5").exists)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None  # in the middle of a long step
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert time.monotonic() - begin < 1
    assert not steps_of(out)


def test_another_signal_after_an_interrupt_is_no_reason_to_leave(tmp_path):
    out = tmp_path / "run"
    with started(out, *SLOW) as process:
        wait_for((out / "run.h5").exists)
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGUSR1)
        assert process.wait(60) == REQUEUE, log_of(out)
    assert steps_of(out)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_time_limit_is_kept_with_a_checkpoint(tmp_path, ranks):
    out, limit = tmp_path / "run", 6
    begin = time.time()
    endless = ["train.steps=10000000", "checkpoint.every=0", "train.eval_every=0"]
    train(out, *endless, ranks=ranks, options=["--time-limit", f"0:0{limit}"], code=REQUEUE)
    ended = time.time() - begin
    found = status(out)
    assert found["state"] == "preempted" and "time limit: stopped after step" in found["message"]
    assert steps_of(out) == [found["last_step"] + 1]
    saved = checkpoint(out, steps_of(out)[0]).stat().st_mtime - begin
    assert saved < limit + 2  # loading the program comes before the limit counts
    assert limit / 2 < ended < limit + 4


def test_a_time_limit_of_another_form_is_refused(tmp_path):
    said = train(tmp_path / "run", options=["--time-limit", "soon"], code=2)
    assert "--time-limit soon: expected seconds, MM:SS or HH:MM:SS, more than 0" in said
