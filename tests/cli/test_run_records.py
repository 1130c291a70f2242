# SPDX-License-Identifier: Apache-2.0
"""What a run file says of how the run came about, and that its own config.toml repeats it to the bit."""

import pathlib
import re
import shlex
import subprocess

import h5py
import pytest
from cli_run import BRAID, DEMO, ENVIRONMENT, ROOT, SMALL, braid, sets


def contents(folder):
    """Attributes as text or numbers, and all tables."""
    with h5py.File(folder / "run.h5", "r", swmr=True, locking=False) as f:
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in f.attrs.items()}
        return attributes, {name: f[name][:] for name in ("train", "ranks", "environment")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two ranks; the second has another NCCL_DEBUG and lacks MKL_VERBOSE."""
    out = tmp_path_factory.mktemp("records") / "run with blank"
    command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none"]
    train = [BRAID, "train", str(DEMO), "--out", str(out), "--device", "cpu", *sets(SMALL)]
    first, second = ["-x", "NCCL_DEBUG=WARN", "-x", "MKL_VERBOSE=0"], ["-x", "NCCL_DEBUG=INFO"]
    parts = [*command, "-n", "1", *first, *train, ":", "-n", "1", *second, *train]
    subprocess.run(parts, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return out, train


def test_the_command_line_can_be_given_to_a_shell_again(run):
    out, train = run
    attributes, _ = contents(out)
    words = shlex.split(attributes["command_line"])
    assert pathlib.Path(words[0]).name == "braid" and words[1:] == train[1:]


def test_each_rank_and_its_process_are_recorded(run):
    host = subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
    attributes, tables = contents(run[0])
    ranks = tables["ranks"]
    assert list(ranks["rank"]) == [0, 1] and attributes["world_size"] == 2
    assert [cell.decode() for cell in ranks["host"]] == [host, host]
    assert set(ranks["device"]) == {b"cpu"} and set(ranks["gpu_uuid"]) == {b""}
    assert len(set(ranks["pid"])) == 2 and list(ranks["threads"]) == [1, 1] and (ranks["cpus"] >= 1).all()


def test_variables_are_recorded_and_where_a_rank_differs(run):
    _, tables = contents(run[0])
    found = {(int(row["rank"]), row["name"].decode()): row["value"].decode() for row in tables["environment"]}
    assert found[0, "OMP_NUM_THREADS"] == "1" and found[0, "OMP_WAIT_POLICY"] == "PASSIVE"
    assert found[0, "NCCL_DEBUG"] == "WARN" and found[1, "NCCL_DEBUG"] == "INFO"
    assert found[0, "MKL_VERBOSE"] == "0" and found[1, "MKL_VERBOSE"] == ""
    assert (1, "OMP_NUM_THREADS") not in found  # the same on both
    assert not any("PATH" in name for _, name in found)


def test_versions_seed_and_counts_are_recorded(run):
    attributes, _ = contents(run[0])
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    if head:  # of the build, which may be a little older than the checkout
        assert re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{7,12}", attributes["git_commit"])
    assert attributes["uncommitted_changes"] in (-1, 0, 1)
    assert attributes["seed"] == 42 and attributes["deterministic"] == 0
    assert attributes["driver_version"] == "none" and attributes["attention_backend"] == "explicit"
    assert attributes["hdf5_version"].startswith("1.") and "Open MPI" in attributes["mpi_version"]
    # 2 layers of 32 in the poc dialect with mHC: embedding and head, positions, blocks, final norm, 3 x 2 x 16 logits.
    block = 4 * (32 * 32 + 32) + (32 * 48 + 48) + (48 * 32 + 32) + 4 * 32
    assert attributes["parameters"] == attributes["parameters_trainable"] == 2 * 256 * 32 + 16 * 32 + 2 * block + 64 + 96


def test_the_digest_tells_the_data_apart(tmp_path):
    digests = []
    for words in ("one", "two"):
        text = tmp_path / words
        text.mkdir()
        for i in range(40):
            (text / f"{i}.txt").write_text(f"{words} {i} " * 50)
        given = ["data.kind=bytes", f'data.path="{text}"']
        assert braid("train", DEMO, "--out", tmp_path / f"run-{words}", *sets(SMALL + given)).returncode == 0
        digests.append(contents(tmp_path / f"run-{words}")[0]["data_digest"])
    assert all(re.fullmatch(r"crc32c:[0-9a-f]{8}", digest) for digest in digests) and digests[0] != digests[1]
    assert braid("train", DEMO, "--out", tmp_path / "made", *sets(SMALL)).returncode == 0
    assert contents(tmp_path / "made")[0]["data_digest"] == "generated:incrementing"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_again_from_its_own_configuration_gives_equal_bits(tmp_path, precision):
    given = sets(SMALL + ["train.steps=6", "train.deterministic=true", f"train.precision={precision}"])
    assert braid("train", DEMO, "--out", tmp_path / "a", *given, ranks=2).returncode == 0
    again = braid("train", tmp_path / "a" / "config.toml", "--out", tmp_path / "b", ranks=2)
    assert again.returncode == 0, again.stderr
    (attributes, first), (_, second) = contents(tmp_path / "a"), contents(tmp_path / "b")
    for column in ("loss", "grad_norm", "gain_proxy_log10_max_entry"):
        assert first["train"][column].tobytes() == second["train"][column].tobytes(), column
    assert len(first["train"]) == 6 and attributes["deterministic"] == 1
    asked = {row["name"]: row["value"] for row in first["environment"]}
    assert asked[b"NCCL_ALGO"] == b"Ring" and asked[b"NCCL_PROTO"] == b"Simple" and b"CUBLAS_WORKSPACE_CONFIG" in asked


def test_another_seed_gives_other_losses(tmp_path):
    """So that the test above can fail."""
    for seed in (1, 2):
        assert braid("train", DEMO, "--out", tmp_path / str(seed), *sets(SMALL + [f"train.seed={seed}"])).returncode == 0
    first, second = (contents(tmp_path / str(seed))[1]["train"]["loss"] for seed in (1, 2))
    assert (first != second).all()


def test_equal_weights_can_be_asked_for_in_both_kinds_of_attention(tmp_path):
    losses = {}
    for attention, start in (("standard", "own"), ("standard", "sdpa"), ("sdpa", "sdpa")):
        out = tmp_path / f"{attention}-{start}"
        kinds = [f"model.attention={attention}", f"model.attention_start={start}"]
        assert braid("train", DEMO, "--out", out, *sets(SMALL + kinds)).returncode == 0
        attributes, tables = contents(out)
        assert attributes["attention_backend"] == {"standard": "explicit", "sdpa": "braid-cpu"}[attention]
        losses[attention, start] = tables["train"]["loss"][0]
    assert losses["standard", "sdpa"] == pytest.approx(losses["sdpa", "sdpa"], rel=1e-6)
    assert losses["standard", "own"] != pytest.approx(losses["sdpa", "sdpa"], rel=1e-4)
