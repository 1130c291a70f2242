# SPDX-License-Identifier: Apache-2.0
"""slurm/gist.sbatch: trained over both nodes, then asked, as on one node."""

import subprocess

import h5py
from fault_run import BRAID, ENVIRONMENT, MPIRUN, ROOT, table

SMALL = ["model.width=32", "model.layers=3", "model.mlp_width=48", "model.context=64", "gist.eval_length=40", "gist.eval_answers=4",
         'gist.phases=["segments=16 tokens=112 steps=6", "segments=16 counts=3 tokens=64 steps=6"]',
         "train.eval_every=6", "train.eval_samples=4", "checkpoint.every=6"]  # fmt: skip
ASK = ["--limit", "6", "--lengths", "40,80", "--segment", "16", "--probe", "1"]


def answers(file):
    with h5py.File(file, "r") as f:
        return [(row["suite"], row["system"], row["length"], row["sample"], row["ids"], row["kind"]) for row in f["answers"][:]]


def on_one_node(folder):
    settings = [word for one in SMALL for word in ("--set", one)]
    train = [*MPIRUN, "-n", "2", BRAID, "train", ROOT / "configs/gist/passkey_quick.toml", *settings, "--out", folder, "--device", "cpu"]
    ask = [*MPIRUN, "-n", "2", BRAID, "eval", folder, *ASK, "--output", folder / "gist.h5", "--device", "cpu"]
    for command in (train, ask):
        subprocess.run(list(map(str, command)), env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    return folder


def test_a_job_over_two_nodes_trains_and_asks_as_one_node_does(batch, tmp_path):
    settings = [word for one in SMALL for word in ("--set", one)]
    job = batch.cluster.submit(
        "--nodes=2", "--output=gist-%j.out", f"--chdir={batch.folder}", ROOT / "slurm/gist.sbatch",
        ROOT / "configs/gist/passkey_quick.toml", "--out", batch.out, "--device", "cpu", "--ask", " ".join(ASK), *settings,
        BRAID_ROOT=str(ROOT), BRAID_BINARY=str(BRAID), OMP_NUM_THREADS="1")  # fmt: skip
    batch.jobs.append(job)
    batch.wait_until_done(job, restarts=0)
    reference = on_one_node(tmp_path / "one")
    losses, expected = (table(folder, "train")["loss"] for folder in (batch.out, reference))
    assert len(losses) == 12 and losses.tobytes() == expected.tobytes()
    found = answers(batch.out / "gist.h5")
    assert found == answers(reference / "gist.h5") and len(found) == 6 * (2 * 12 + 3)
    assert (batch.out / "gist.json").exists()
