# SPDX-License-Identifier: Apache-2.0
"""Runs that are spread over ranks: the numbers are those of one rank, and any layout goes on from any other's checkpoint."""

import subprocess

import pytest
from fault_run import ENVIRONMENT, MPIRUN, checkpoint, events, open_h5, table, train, words


@pytest.mark.parametrize(
    "overrides, tolerance, layouts",
    [
        (["train.batch=10", "train.micro_batch=2", "checkpoint.keep_best=true"], 1e-5,
         [("optimizer", 2), ("parameters", 3, "optim.offload=true"), ("none", 1, "optim.offload=true"), ("gradients", 2),
          ("parameters", 2)]),
        (["optim.kind=adamw8bit", "model.width=48", "train.precision=bf16", "train.recompute=true"], 0.01,
         [("parameters", 3), ("optimizer", 2, "optim.offload=true")]),
    ],
    ids=["accumulating", "8-bit-bf16"],
)  # fmt: skip
def test_a_run_goes_on_in_any_layout(tmp_path, unbroken, overrides, tolerance, layouts):
    reference = unbroken(*overrides)
    out = tmp_path / "run"
    for i, (shard, ranks, *more) in enumerate(layouts):
        steps = 4 * (i + 1)
        said = train(out, *overrides, f"train.steps={steps}", f"parallel.shard={shard}", *more, ranks=ranks)
        assert i == 0 or f"resumed: from {checkpoint(out, steps - 4)} on {ranks} rank" in said
        assert len(list(checkpoint(out, steps).glob("shard-*"))) == ranks
    meshes = [f"data={ranks}" + (f", shard={shard}" if shard != "none" else "") for shard, ranks, *_ in layouts]
    assert [row["mesh"].decode() for row in table(out, "sessions")] == meshes
    with open_h5(out / "run.h5") as f:
        assert f.attrs["mesh"].decode() == meshes[-1]
    for name, column in (("train", "loss"), ("train", "grad_norm"), ("eval", "loss")):
        found, expected = (dict(zip(table(run, name)["step"], table(run, name)[column])) for run in (out, reference))
        both = found.keys() & expected.keys()
        assert max(abs(found[step] - expected[step]) for step in both) < tolerance, (name, column)
    losses = table(out, "train")["loss"]
    assert losses[0] - losses[-1] > 0.02  # it does train


def test_a_run_goes_on_in_groups_of_ranks_and_out_of_them(tmp_path, unbroken):
    """Hybrid sharding: two groups of two, whose checkpoint every other layout reads."""
    reference, out = unbroken("train.batch=10"), tmp_path / "run"
    for steps, (shard, group, ranks) in zip((4, 8, 12), (("gradients", 0, 2), ("parameters", 2, 4), ("optimizer", 0, 3))):
        train(out, "train.batch=10", f"train.steps={steps}", f"parallel.shard={shard}", f"parallel.shard_ranks={group}", ranks=ranks)
        assert len(list(checkpoint(out, steps).glob("shard-*"))) == ranks
    assert table(out, "sessions")[1]["mesh"].decode() == "data=4, shard=parameters over 2"
    for column in ("loss", "grad_norm"):
        both = zip(table(out, "train")[column], table(reference, "train")[column])
        assert max(abs(found - expected) for found, expected in both) < 1e-5, column
    said = train(out, "train.batch=10", "train.steps=16", "parallel.shard=optimizer", "parallel.shard_ranks=2", ranks=3, code=2)
    assert "parallel.shard_ranks: expected a divisor of the 3 ranks that share the batch, or 0, found 2" in said


def test_what_is_spread_is_rewound_like_anything_else(tmp_path):
    """A rate that no model survives: every rank goes back, to the same numbers again, until it may not any more."""
    out = tmp_path / "run"
    keys = ["optim.learning_rate=1e30", "train.nonfinite=rewind", "train.rewind_limit=2", "parallel.shard=parameters"]
    train(out, *keys, ranks=2)
    assert len(events(out, "rewind")) == 2


def test_ranks_with_different_configurations_are_told_so(tmp_path):
    out = tmp_path / "run"
    command = [*MPIRUN, "-n", "1", *words(out), ":", "-n", "1", *words(out, "parallel.shard=gradients")]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 2
    assert 'rank 1 was started with another configuration than rank 0: parallel.shard "none" -> "gradients"' in done.stderr
