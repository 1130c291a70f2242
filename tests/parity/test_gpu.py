# SPDX-License-Identifier: Apache-2.0
"""What a GPU computes beside what CPUs compute: whole runs of both dialects, fine-tuning, generation; ranks over NCCL."""

import os
import pathlib
import subprocess

import braid_run  # finds bench_common
import bench_common
import h5py
import numpy as np
import pytest

if not bench_common.gpu_names():
    pytest.skip("no usable GPU on this machine", allow_module_level=True)
pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
from engram_pairs import SETS, make_places  # noqa: E402
from hf_models import make_folder, random_ids, load, words  # noqa: E402

DEMO = braid_run.ROOT / "configs/mhc/demo_mhc.toml"
POC = ["model.layers=4", "model.width=64", "model.mlp_width=128", "train.steps=20", "train.batch=10"]
LLAMA = ["model.dialect=llama", "model.kv_heads=2", "model.attention=sdpa"] + POC
PAPER = ["model.connection_form=paper"]
FORMS = {
    "poc mhc": POC,
    "poc hc": POC + ["model.residual=hc"],
    "poc residual, standard attention": POC + ["model.residual=residual", "model.attention=standard"],
    "llama residual": LLAMA + ["model.residual=residual"],
    "llama, masters and moments on the host": LLAMA + ["model.residual=residual", "optim.offload=true"],
    "paper mhc": LLAMA + PAPER,
    "paper mhc of 2, streams kept at every third sublayer": POC + PAPER + ["model.streams=2", "train.stream_interval=3"],
    "paper permutations of a width of no whole chunks": LLAMA + PAPER + ["model.manifold=permutations", "model.width=72", "model.heads=2"],
    "paper hc": LLAMA + PAPER + ["model.residual=hc"],
    "llama mhc, recomputed, small batches": LLAMA + ["train.recompute=true", "train.micro_batch=3"],
}
TUNINGS = {
    "lora with dropout": ("ours.toml", ["lora.dropout=0.1"]),
    "qlora": ("ours.toml", ["model.quantise=nf4", "model.double_quantise=true", "train.recompute=true"]),
    "8-bit moments": ("ours.toml", ["optim.kind=adamw8bit"]),
    "paged 8-bit moments": ("ours.toml", ["optim.kind=adamw8bit", "optim.paged=true"]),
    "paged moments": ("ours.toml", ["optim.paged=true"]),
    "masters and moments on the host": ("ours.toml", ["optim.offload=true"]),
    "hash memory": ("memory.toml", ["memory.layers=[0,2]", "memory.table_size=500", "memory.width=32", "memory.heads=4"]),
}


def start(arguments, ranks, meeting, threads=2):
    """Ranks that meet in a folder, so that one GPU may take several and no mpirun is needed."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY="PASSIVE")
    command = [braid_run.BRAID, *map(str, arguments), *(["--share-gpu"] if ranks > 1 else [])]
    many = lambda rank: dict(BRAID_RENDEZVOUS=str(meeting), BRAID_RANK=str(rank), BRAID_WORLD=str(ranks)) if ranks > 1 else {}  # noqa: E731
    processes = [subprocess.Popen(command, env=env | many(rank), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for rank in range(ranks)]
    done = [process.communicate(timeout=280) for process in processes]
    for process, (out, err) in zip(processes, done, strict=True):
        assert process.returncode == 0, err + out
    return done[0][0]


def trained(config, out, sets, device="cuda", ranks=1):
    """/train of a run, and its attributes."""
    chosen = [word for assignment in sets for word in ("--set", assignment)]
    start(["train", config, "--out", out, "--device", device, *chosen], ranks, pathlib.Path(f"{out}-ranks"))
    with h5py.File(out / "run.h5", "r", locking=False, swmr=True) as f:
        assert (device == "cuda") == ("cuda" in str(f.attrs["device"]))
        return {name: f["train"][name] for name in ("loss", "grad_norm")}


def require_close(found, expected, loss=1e-5, norm=1e-5):
    assert len(found["loss"]) == len(expected["loss"]) >= 20 and expected["loss"][0] - expected["loss"][-1] > 0.05
    worst = np.abs(found["loss"] - expected["loss"]).max(), np.abs(found["grad_norm"] / expected["grad_norm"] - 1).max()
    assert worst[0] < loss and worst[1] < norm, worst


@pytest.mark.parametrize("name", FORMS)
def test_a_run_has_the_losses_and_norms_of_cpus(tmp_path, name):
    found, expected = (trained(DEMO, tmp_path / device, FORMS[name], device) for device in ("cuda", "cpu"))
    require_close(found, expected)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("name", ["poc mhc", "llama mhc, recomputed, small batches"])
def test_ranks_over_nccl_give_the_losses_of_one(tmp_path, name, ranks):
    require_close(trained(DEMO, tmp_path / "many", FORMS[name], ranks=ranks), trained(DEMO, tmp_path / "one", FORMS[name]))


def test_bf16_trains_beside_fp32(tmp_path):
    fp32, bf16 = (trained(DEMO, tmp_path / p, [*POC, f"train.precision={p}"])["loss"] for p in ("fp32", "bf16"))
    assert 0 < np.abs(bf16 - fp32).max() < 0.05


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_deterministic_runs_repeat_to_the_bit(tmp_path, precision):
    sets = [*POC, "train.deterministic=true", f"train.precision={precision}"]
    first, second = (trained(DEMO, tmp_path / name, sets) for name in "ab")
    assert np.array_equal(first["loss"], second["loss"]) and np.array_equal(first["grad_norm"], second["grad_norm"])


def test_a_run_goes_on_from_a_checkpoint_of_either_device(tmp_path):
    whole = trained(DEMO, tmp_path / "whole", POC)
    for first in ("cpu", "cuda"):
        out = tmp_path / first
        trained(DEMO, out, [*POC, "train.steps=10"], first)
        chosen = [word for assignment in POC for word in ("--set", assignment)]
        start(["train", DEMO, "--out", out, "--device", "cuda", *chosen], 1, out)
        with h5py.File(out / "run.h5", "r", locking=False, swmr=True) as f:
            require_close({name: f["train"][name] for name in ("loss", "grad_norm")}, whole)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return make_places(tmp_path_factory.mktemp("places"))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", TUNINGS)
def test_fine_tuning_has_the_losses_of_cpus(places, tmp_path, name, ranks):
    config, changes = TUNINGS[name]
    sets = [*SETS, f"model.path={places / 'model'}", f"data.path={places / 'data'}", "optim.learning_rate=0.001", *changes]
    path = braid_run.ROOT / "configs/engram" / config
    found, expected = trained(path, tmp_path / "gpu", sets, ranks=ranks), trained(path, tmp_path / "cpu", sets, "cpu")
    require_close(found, expected, norm=5e-5 if name == "hash memory" else 1e-5)  # its rows' rate is five times as high


SAMPLED = ["--temperature", 0.8, "--top-k", 40, "--top-p", 0.9, "--repetition-penalty", 1.1, "--presence-penalty", 0.5, "--seed", 3]


# The last is more texts at once than go through the kernels for few tokens.
@pytest.mark.parametrize("more", [[], ["--quantise", "nf4"], SAMPLED, [*SAMPLED, "--n", 6]], ids=["fp32", "nf4", "sampled", "many"])
def test_tokens_are_those_of_cpus(tmp_path, more):
    folder = make_folder(tmp_path / "model")
    prompts = words(random_ids(load(folder), 3, 12).tolist())
    answers = [start(["generate", "--model", folder, "--max-new-tokens", 32, "--device", d, *prompts, *more], 1, tmp_path) for d in ("cuda", "cpu")]
    assert answers[0] == answers[1] and answers[0].count(",") > 60
