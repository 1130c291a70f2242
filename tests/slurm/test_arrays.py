# SPDX-License-Identifier: Apache-2.0
"""A sweep as a job array: one element a run, each with restarts of its own."""

import json
import subprocess

import pytest
from batch import CONFIG, STEPS
from cluster import wait_for
from fault_run import BRAID, ENVIRONMENT, status, table

SWEEP = CONFIG + "[sweep]\nlayers = [1, 2]\nseeds = [7]\n"
NAMES = ("1l_mhc_s7", "2l_mhc_s7")


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same sweep by its own driver."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "sweep.toml").write_text(SWEEP)
    command = [BRAID, "sweep", folder / "sweep.toml", "--out", folder / "sweep", "--device", "cpu"]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    return folder / "sweep"


def test_each_element_makes_its_run_and_starts_again_alone(batch, plain):
    (batch.folder / "sweep.toml").write_text(SWEEP)
    job = batch.submit("--sbatch=--output=%a-%A.out", config="sweep.toml")
    second = batch.out / NAMES[1]

    def under_way():
        return (second / "run.h5").exists() and len(table(second, "train")) > 60
    wait_for(under_way, 60, lambda: batch.output(job) + batch.cluster.logs())
    batch.cluster.ask("scancel", "--batch", "--signal=USR1", f"{job}_2")
    restarts = []
    for element in ("1", "2"):
        fields = batch.wait(f"{job}_{element}")
        assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), batch.output(job)
        restarts.append(fields["Restarts"])
    assert restarts == ["0", "1"]
    for name in NAMES:
        assert status(batch.out / name)["state"] == "done"
        assert table(batch.out / name, "train")["loss"].tobytes() == table(plain / name, "train")["loss"].tobytes()
        assert len(table(batch.out / name, "train")) == STEPS
    assert [run["name"] for run in json.loads((batch.out / "sweep.json").read_text())["runs"]] == list(NAMES)
