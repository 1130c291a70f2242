# SPDX-License-Identifier: Apache-2.0
"""What saving leaves: how many checkpoints, how long training waited, and files that h5py reads without Braid."""

import h5py
import numpy as np
import pytest
from fault_run import ROOT, assert_same_bits, checkpoint, events, open_h5, steps_of, table, tensors, train


@pytest.mark.parametrize(
    "settings, expected",
    [
        (["checkpoint.keep=2"], [16, 20]),
        (["checkpoint.keep=1", "checkpoint.keep_every=8"], [8, 16, 20]),
        (["checkpoint.every=6", "checkpoint.at_end=false"], [6, 12, 18]),
        (["checkpoint.every=0"], [20]),
        (["checkpoint.every=0", "checkpoint.at_end=false"], []),
    ],
    ids=["keep", "keep_every", "not_at_end", "only_at_end", "never"],
)
def test_as_many_are_kept_as_configured(tmp_path, settings, expected):
    train(tmp_path / "run", *settings)
    assert steps_of(tmp_path / "run") == expected


def test_saving_changes_nothing_and_is_recorded(tmp_path):
    """Every step is saved, and never: the same bits."""
    often, never = tmp_path / "often", tmp_path / "never"
    train(often, "checkpoint.every=1", "checkpoint.keep=1", ranks=2)
    train(never, "checkpoint.every=0", ranks=2)
    assert_same_bits(often, never, 20)
    blocked = table(often, "train")["checkpoint_blocked_ms"]
    assert (blocked > 0).all() and list(table(never, "train")["checkpoint_blocked_ms"] > 0) == [False] * 19 + [True]
    saved = [message.split(":")[0] for message in events(often, "checkpoint_saved")]
    assert saved == [f"checkpoints/step-{step:08d}" for step in range(1, 21)]
    assert steps_of(often) == [20]


def test_the_number_of_ranks_does_not_change_what_h5py_shows(unbroken):
    one, four = (tensors(checkpoint(unbroken(ranks=ranks), 4)) for ranks in (1, 4))
    assert one.keys() == four.keys()
    for name, values in one.items():
        assert values.shape == four[name].shape and values.dtype == np.float32
        if name.startswith("model/") and name.endswith("weight"):
            assert np.abs(values - four[name]).max() < 1e-4, name
    weights = {name.removeprefix("model/") for name in one if name.startswith("model/")}
    kinds = ("model/", "optim/exp_avg/", "optim/exp_avg_sq/")
    assert one.keys() == {kind + name for kind in kinds for name in weights}
    assert one["model/embedding.weight"].shape == (16, 16) and one["model/mix.res"].shape == (2, 4, 4)


def test_the_manifest_says_what_the_run_was(unbroken):
    out = unbroken()
    with h5py.File(checkpoint(out, 8) / "manifest.h5", "r") as f, open_h5(out / "run.h5") as run:
        assert f.attrs["format"] == b"braid-checkpoint" and f.attrs["format_version"] == 1 and f.attrs["step"] == 8
        for name in ("run_id", "config", "git_commit", "data_digest", "world_size", "seed"):
            assert f.attrs[name] == run.attrs[name], name
        for name in ("shards", "slices"):
            columns = f[name].dtype.names
            assert all(f"meaning:{column}" in f[name].attrs for column in columns), name
        shards = [row["file"].decode() for row in f["shards"][:]]
        lengths = [(checkpoint(out, 8) / name).stat().st_size for name in shards]
        assert shards == ["shard-000-of-001.h5"] and list(f["shards"]["bytes"]) == lengths


def test_h5py_shows_bf16_as_numbers():
    with h5py.File(ROOT / "tests/store/data/checkpoint-v1/manifest.h5", "r") as f:
        found = f["view/model/scale"][()]
    bits = np.array([2 * 31 + 7 * i for i in range(14)], np.uint8).view(np.uint16)  # tests/store/format_files.h
    assert np.array_equal(found, (bits.astype(np.uint32) << 16).view(np.float32))
