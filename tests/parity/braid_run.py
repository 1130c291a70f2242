# SPDX-License-Identifier: Apache-2.0
"""Starts braid and reads what it wrote."""

import os
import pathlib
import subprocess
import sys

import h5py

ROOT = pathlib.Path(__file__).resolve().parents[2]
BRAID = os.path.join(os.environ.get("BRAID_BUILD", ROOT / "build"), "braid")
sys.path.insert(0, str(ROOT / "tests" / "bench"))


def train(config, out, *overrides, ranks=1, threads=1, resume=None):
    """Runs `braid train`, from the checkpoint `resume` if one is named; returns /train as a dict of arrays."""
    command = [BRAID, "train", str(ROOT / config), "--out", str(out), "--device", "cpu"]
    command += ["--resume", str(resume)] if resume else []
    for assignment in overrides:
        command += ["--set", assignment]
    if ranks > 1:
        command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] + command
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), OMP_WAIT_POLICY="PASSIVE", OMPI_ALLOW_RUN_AS_ROOT="1",
               OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")  # fmt: skip
    assert os.access(BRAID, os.X_OK), f"{BRAID} is missing: build it, set BRAID_BUILD to the build folder"
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600)
    assert done.returncode == 0, done.stderr + done.stdout
    with h5py.File(out / "run.h5", "r", locking=False, swmr=True) as f:
        table = f["train"][:]
    return {name: table[name] for name in table.dtype.names}
