# SPDX-License-Identifier: Apache-2.0
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))  # fault_run.py
from batch import Batch, unbroken_run
from cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if problem := missing():
        pytest.skip(problem)
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """The run that nothing happens to, under a plain mpirun."""
    return unbroken_run(tmp_path_factory.mktemp("unbroken"))


@pytest.fixture
def batch(cluster, tmp_path):
    """Submits jobs from a folder of its own, and leaves none behind."""
    jobs = Batch(cluster, tmp_path)
    yield jobs
    jobs.end()
