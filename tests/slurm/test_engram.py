# SPDX-License-Identifier: Apache-2.0
"""slurm/engram.sbatch: trained over both nodes, stopped on the way, then asked, as on one node."""

import json
import shutil
import subprocess
import sys

import h5py
import pytest
from cluster import wait_for
from fault_run import BRAID, ENVIRONMENT, MPIRUN, ROOT, table

pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
sys.path.insert(0, str(ROOT / "tests/parity"))
from hf_models import make_folder  # noqa: E402

TOKENIZER = ROOT / "tests/text/data/smol.json"
PAIRS = [("Q: Port of HTTPS?\nA:", " 443"), ("Fix: if x = 5:", " if x == 5:"), ("for i in ", "range(10):"), ("2024-01-05 ->", " 5 January")]
STEPS = 240


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A model with a tokenizer, and patterns."""
    root = tmp_path_factory.mktemp("places")
    vocabulary = len(json.loads(TOKENIZER.read_text())["model"]["vocab"]) + 64
    make_folder(root / "model", vocab_size=vocabulary, eos_token_id=0, initializer_range=0.05, num_hidden_layers=2)
    shutil.copy(TOKENIZER, root / "model/tokenizer.json")
    examples = [{"input": prompt, "output": answer, "category": prompt[:3]} for prompt, answer in PAIRS]
    (root / "patterns").mkdir()
    # YAML holds JSON.
    (root / "patterns/pairs.yaml").write_text(json.dumps({"name": "pairs", "description": "Pairs", "version": "1", "examples": examples}))
    return root


def on_one_node(out, places, folder):
    """The same run under a plain mpirun, and what its adapter answers."""
    run = [*MPIRUN, "-n", "2", BRAID, "train", out / "run/config.toml", "--out", folder / "run", "--device", "cpu"]
    export = [BRAID, "checkpoint", "export", folder / "run", "--peft", folder / "adapter"]
    ask = [*MPIRUN, "-n", "2", BRAID, "eval", "engram", "--model", places / "model", "--adapter", folder / "adapter", "--data",
           out.parent / "data/cuda", "--out", folder / "engram.h5", "--device", "cpu"]  # fmt: skip
    for command in (run, export, ask):
        subprocess.run(list(map(str, command)), env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    return folder


def answers(file):
    with h5py.File(file, "r") as f:
        return [(row["prompt"], row["base_answer"], row["tuned_answer"]) for row in f["examples"][:]]


def test_a_job_over_two_nodes_that_was_stopped_ends_as_one_node_does(batch, places, tmp_path):
    out = batch.out / "ours"
    job = batch.cluster.submit(
        "--nodes=2", "--output=engram-%j.out", f"--chdir={batch.folder}", ROOT / "slurm/engram.sbatch", "--model", places / "model",
        "--patterns", places / "patterns", "--out", batch.out, "--device", "cpu", "--set", "train.epochs=0", "--set",
        f"train.steps={STEPS}", "--set", "model.context=64", "--set", "checkpoint.every=20",
        "--set", "optim.learning_rate=2e-3",
        BRAID_ROOT=str(ROOT), BRAID_BINARY=str(BRAID), OMP_NUM_THREADS="1")  # fmt: skip
    batch.jobs.append(job)

    def under_way():
        try:
            return len(table(out / "run", "train")) > 20
        except OSError:  # not there yet
            return False
    wait_for(under_way, 60, lambda: batch.all_about(job))
    batch.cluster.ask("scancel", "--batch", "--signal=USR1", job)
    batch.wait_until_done(job, restarts=1)
    reference = on_one_node(out, places, tmp_path)
    losses, expected = (table(folder / "run", "train")["loss"] for folder in (out, reference))
    assert len(losses) == STEPS and losses.tobytes() == expected.tobytes()
    assert losses[-1] < losses[0] and len(table(out / "run", "sessions")) == 2
    found = answers(out / "engram.h5")
    assert found == answers(reference / "engram.h5") and any(base != tuned for _, base, tuned in found)
