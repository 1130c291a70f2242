# SPDX-License-Identifier: Apache-2.0
"""Every collective, type and size over NCCL: the tests of tests/mpi with memory on a GPU, which its ranks share."""

import os
import shutil
import subprocess

import pytest

PROGRAM = os.path.join(os.environ["BRAID_BUILD"], "tests", "test_mpi")


@pytest.mark.skipif(not shutil.which("nvidia-smi") or subprocess.run(["nvidia-smi", "-L"], capture_output=True).returncode != 0,
                    reason="no usable GPU on this machine")  # fmt: skip
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_collectives_over_nccl(tmp_path, ranks):
    env = {k: v for k, v in os.environ.items() if not k.startswith("OMPI_")} | {"BRAID_TEST_DEVICE": "cuda"}
    meet = lambda rank: {"BRAID_RENDEZVOUS": str(tmp_path / "meet"), "BRAID_RANK": str(rank), "BRAID_WORLD": str(ranks)}  # noqa: E731
    command = [PROGRAM, "--gtest_filter=Types/EveryType.*:Bf16Sum.*:Split.*"]
    processes = [subprocess.Popen(command, env=env | meet(rank), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for rank in range(ranks)]
    texts = [process.communicate(timeout=250)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * ranks, "\n".join(text[-3000:] for text in texts)
    assert "PASSED" in texts[0]
