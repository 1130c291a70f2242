# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed at random moments, again and again, end as the run that nothing happened to.

BRAID_KILLED_RUNS says how many (a few in launch/test, 100 in the long form), BRAID_KILL_SEED repeats what failed."""

import os
import pathlib
import random
import signal
import tempfile
import time

import pytest
from fault_run import (BUILD, assert_rows_once, assert_same_bits, events, names_in, on_ranks, ranks_of, started, status,
                       steps_of, table, train, wait_for, words)  # fmt: skip

RUNS = int(os.environ.get("BRAID_KILLED_RUNS", "5"))
FIRST_SEED = int(os.environ.get("BRAID_KILL_SEED", random.SystemRandom().randrange(10**6)))
SLOW_DISK = BUILD / "tests" / "libslow_disk.so"
STEPS = 40
OVERRIDES = ["optim.schedule=cosine", "optim.warmup_steps=5", f"train.steps={STEPS}", "checkpoint.every=3",
             "checkpoint.keep=2"]  # fmt: skip


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def begin(out, ranks, slow):
    """On a slow disk saves take most of the time."""
    preload = f"LD_PRELOAD={SLOW_DISK}" if slow else ""
    if ranks == 1:
        return started(out, *OVERRIDES, env=dict([preload.split("=")]) if slow else None)
    return started(out, command=on_ranks(words(out, *OVERRIDES), ranks, *(["-x", preload] if slow else [])))


def wait_for_the_moment(chance, process, out, usual_seconds):
    """Any moment of a run's life, or one within a save."""
    if chance.random() < 0.5:
        time.sleep(chance.uniform(0, usual_seconds))
        return "at any moment"
    enough = chance.randrange(4)  # saves that may pass
    seen = set()

    def within_a_save():
        seen.update(path.name for path in (out / "checkpoints").glob("*.tmp"))
        return len(seen) > enough or process.poll() is not None

    wait_for(within_a_save, 60)
    time.sleep(chance.uniform(0, 0.03))
    return "within a save"


def kill(chance, process):
    """Returns what was killed, None where the run had ended before."""
    ranks = ranks_of(process)
    process.members |= set(ranks)
    if process.poll() is not None:
        return None
    what = chance.choice(["one rank", "all", "mpirun"]) if len(ranks) > 1 else "the only one"
    victims = {"one rank": ranks and [chance.choice(ranks)], "all": [process.pid, *ranks]}
    for pid in victims.get(what) or [process.pid]:
        os.kill(pid, signal.SIGKILL)
    return what


def killed_until_done(out, chance, reference_seconds):
    """Starts and kills one run; returns its number of ranks and what was done to it (nothing: it was quicker)."""
    ranks, done = chance.choice([1, 2, 2, 3]), []
    for _ in range(chance.randint(2, 3)):
        with begin(out, ranks, slow=SLOW_DISK.exists() and chance.random() < 0.5) as process:
            moment = wait_for_the_moment(chance, process, out, reference_seconds(ranks))
            what = kill(chance, process)
            process.wait(60)
            if what:
                done.append(f"{what} {moment}")
            wait_for(lambda: not any(map(is_alive, process.members)), 30, "the end of all ranks")
    train(out, *OVERRIDES, ranks=ranks)
    return ranks, done


@pytest.fixture(scope="module")
def reference_seconds(unbroken):
    """How long an unbroken run takes, by its number of ranks."""
    known = {}

    def measure(ranks):
        if ranks not in known:
            begin = time.monotonic()
            unbroken(*OVERRIDES, ranks=ranks)
            known[ranks] = time.monotonic() - begin
        return known[ranks]

    return measure


def test_killed_runs_end_as_the_unbroken_one(tmp_path, unbroken, reference_seconds, capsys):
    kills = []
    for seed in range(FIRST_SEED, FIRST_SEED + RUNS):
        chance, done = random.Random(seed), []
        while not done:  # a run may end before the first moment that was drawn for it
            out = pathlib.Path(tempfile.mkdtemp(prefix=f"run-{seed}-", dir=tmp_path))
            ranks, done = killed_until_done(out, chance, reference_seconds)
        kills += done
        try:
            assert_same_bits(out, unbroken(*OVERRIDES, ranks=ranks), STEPS)
            assert_rows_once(out, STEPS, sessions=len(table(out, "sessions")))
            assert status(out)["state"] == "done"
            assert steps_of(out)[-2:] == [39, 40] and len(names_in(out)) == len(steps_of(out))  # nothing half or broken
            assert not events(out, "checkpoint_skipped") and not list(out.glob("run.h5.*"))
        except AssertionError as problem:
            again = f"BRAID_KILL_SEED={seed} BRAID_KILLED_RUNS=1"
            raise AssertionError(f"{again}: {ranks} ranks, killed: {done}") from problem
    with capsys.disabled():
        kinds = ", ".join(f"{kills.count(kind)} x {kind}" for kind in sorted(set(kills)))
        print(f"\n{RUNS} runs, {len(kills)} kills ({kinds}), seeds {FIRST_SEED} to {FIRST_SEED + RUNS - 1}")
    assert len(kills) >= RUNS
