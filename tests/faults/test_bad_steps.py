# SPDX-License-Identifier: Apache-2.0
"""Steps that are not finite or unusually bad: skipped, ended or gone back from, as configured, and recorded.

The bad step comes from the data: a sequence that a small model soon knows by heart, and one window of it that is
something else. Steps that are not finite come from a learning rate that no model survives."""

import numpy as np
import pytest
from fault_run import assert_rows_once, checkpoint, events, state, status, steps_of, table, train
from shard_file import write_shard

CONTEXT, WINDOWS, BATCH, STEPS = 12, 400, 8, 45


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Overrides for a run whose batches are each seen once; one of them holds the window that is something else."""
    folder = tmp_path_factory.mktemp("shards")
    tokens = np.arange(WINDOWS * CONTEXT + 1) % 13
    write_shard(folder / "held-out.h5", tokens[:600], 16)
    tokens[200 * CONTEXT:201 * CONTEXT] = 15
    write_shard(folder / "train.h5", tokens, 16)
    return ["data.kind=tokens", f'data.path="{folder}"', f"train.steps={STEPS}", f"train.batch={BATCH}",
            "checkpoint.every=8", "optim.learning_rate=0.03", "train.outlier_window=12",
            "train.outlier_zscore=20"]  # fmt: skip


@pytest.fixture(scope="module")
def bad_step(data, unbroken):
    """Where the window comes up: far above all around it."""
    loss = table(unbroken(*data), "train")["loss"]
    step = int(np.argmax(loss[15:])) + 15
    assert loss[step] > 5 * np.delete(loss[15:], step - 15).max()
    assert 20 < step < STEPS - 8 and step % 8 > 1
    return step


@pytest.fixture(scope="module")
def skipping(data, bad_step, unbroken):
    return unbroken(*data, "train.outlier=skip")


def test_an_outlier_is_skipped_and_recorded(data, bad_step, unbroken, skipping):
    off, skip = table(unbroken(*data), "train")["loss"], table(skipping, "train")["loss"]
    assert np.array_equal(off[:bad_step + 1], skip[:bad_step + 1])  # the loss is of before the update
    assert off[bad_step + 1] != skip[bad_step + 1]
    rows = [row for row in table(skipping, "events") if row["kind"] == b"skipped_update"]
    assert [row["step"] for row in rows] == [bad_step]
    assert b"outlier: loss " in rows[0]["message"] and b"limit z 20.0" in rows[0]["message"]
    assert_rows_once(skipping, STEPS, sessions=1)
    found = state(checkpoint(skipping, STEPS))
    assert (found["step"], found["optimizer_updates"], found["next_sample"]) == (STEPS, STEPS - 1, STEPS * BATCH)
    assert not events(unbroken(*data), "skipped_update")


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_rewound_run_leaves_exactly_that_batch_out(tmp_path, data, bad_step, skipping, ranks):
    """From the bad step on it sees what the run that skips the step sees one step later, with the same weights."""
    out = tmp_path / "run"
    said = train(out, *data, "train.outlier=rewind", ranks=ranks)
    back = bad_step // 8 * 8
    first, last = bad_step * BATCH, bad_step * BATCH + BATCH - 1
    (message,) = events(out, "rewind")
    assert message.startswith(f"step {bad_step}: outlier: loss ")
    assert message.endswith(f"; back to step {back}, samples {first} to {last} are left out") and message in said
    assert_rows_once(out, STEPS, sessions=1)
    found, expected = table(out, "train"), table(skipping, "train")
    for column in ("loss", "grad_norm"):
        if ranks == 1:
            assert np.array_equal(found[column][:bad_step], expected[column][:bad_step])
            assert np.array_equal(found[column][bad_step:-1], expected[column][bad_step + 1:])
        else:
            assert np.abs(found[column][bad_step:-1] - expected[column][bad_step + 1:]).max() < 1e-3
    end = state(checkpoint(out, STEPS))
    assert (end["skipped_first"], end["skipped_count"], end["rewinds"]) == ([first], [BATCH], 1)
    assert (end["step"], end["optimizer_updates"], end["next_sample"]) == (STEPS, STEPS, (STEPS + 1) * BATCH)
    assert state(checkpoint(out, back))["skipped_first"] == []  # of before it was known


def test_a_rewound_run_that_is_broken_off_still_leaves_the_batch_out(tmp_path, data, bad_step):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(whole, *data, "train.outlier=rewind")
    train(broken, *data, "train.outlier=rewind", f"train.steps={bad_step + 7}", "checkpoint.at_end=false")
    assert steps_of(broken)[-1] > bad_step
    train(broken, *data, "train.outlier=rewind")
    assert table(broken, "train")["loss"].tobytes() == table(whole, "train")["loss"].tobytes()
    assert len(events(broken, "rewind")) == 1
    assert_rows_once(broken, STEPS, sessions=2)


def test_an_outlier_ends_the_run_with_a_checkpoint(tmp_path, data, bad_step):
    out = tmp_path / "run"
    train(out, *data, "train.outlier=stop", code=1)
    found = status(out)
    assert (found["state"], found["last_step"], found["exit_code"]) == ("stopped", bad_step, 1)
    assert "outlier: loss " in found["message"]
    assert steps_of(out)[-1] == bad_step + 1
    assert state(checkpoint(out, bad_step + 1))["optimizer_updates"] == bad_step  # the step itself was not applied
    train(out, *data, "train.outlier=skip")  # the user decides to go on
    assert status(out)["state"] == "done"


HOPELESS = ["optim.learning_rate=1e30", "checkpoint.every=5"]


@pytest.mark.parametrize(
    "policy, last_step, why",
    [
        (["train.nonfinite=stop"], 1, "loss or gradient was not finite"),
        (["train.nonfinite=skip", "train.nonfinite_limit=3"], 3, "not finite for 3 steps in a row"),
    ],
    ids=["stop", "skip"],
)
def test_a_run_that_is_not_finite_ends_as_diverged(tmp_path, policy, last_step, why):
    out = tmp_path / "run"
    train(out, *HOPELESS, *policy)
    found = status(out)
    assert (found["state"], found["last_step"], found["exit_code"]) == ("diverged", last_step, 0)
    assert why in found["message"]
    rows = table(out, "train")
    assert list(rows["nonfinite"]) == [0] + [1] * last_step
    assert list(rows["nonfinite_total"]) == list(range(last_step + 1))
    assert not steps_of(out)  # its weights are no place to go on from
    before = (out / "run.h5").read_bytes()
    assert "diverged: ended already" in train(out, *HOPELESS, *policy)
    assert (out / "run.h5").read_bytes() == before


def test_going_back_again_and_again_has_a_limit(tmp_path):
    """The first checkpoint is made before the first step, so that there is always one."""
    out = tmp_path / "run"
    train(out, *HOPELESS, "train.nonfinite=rewind", "train.rewind_limit=3")
    why = "step 1: loss or gradient was not finite; back to step 0, samples "
    assert events(out, "rewind") == [f"{why}{first} to {first + 7} are left out" for first in (8, 16, 24)]
    found = status(out)
    assert found["state"] == "diverged" and "went back 3 times already (train.rewind_limit)" in found["message"]
    assert list(table(out, "train")["step"]) == [0, 1]
    assert steps_of(out) == [0]
