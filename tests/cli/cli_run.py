# SPDX-License-Identifier: Apache-2.0
"""Starts braid as a user would."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BRAID = os.path.join(os.environ.get("BRAID_BUILD", ROOT / "build"), "braid")
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
DEMO = ROOT / "configs/mhc/demo_mhc.toml"
SMALL = ["model.layers=2", "model.width=32", "model.mlp_width=48", "model.context=16", "train.batch=4", "train.steps=3"]


def sets(assignments):
    return [word for assignment in assignments for word in ("--set", assignment)]


def braid(*arguments, ranks=0, cwd=None, env=None, timeout=120):
    command = [BRAID, *map(str, arguments)]
    if ranks:
        command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] + command
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT | (env or {}), timeout=timeout)


def one_line(done, code):
    """stderr is one line; returns it."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    return lines[0]
