# SPDX-License-Identifier: Apache-2.0
"""Ranks that meet through a folder, with no MPI launcher."""

import os
import subprocess

PROGRAM = os.path.join(os.environ["BRAID_BUILD"], "tests", "file_rendezvous_probe")


def start(folder, rank, world):
    env = {k: v for k, v in os.environ.items() if not k.startswith("OMPI_")}
    env.update(BRAID_RENDEZVOUS=str(folder), BRAID_RANK=str(rank), BRAID_WORLD=str(world))
    return subprocess.Popen([PROGRAM], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_three_processes_meet_and_reduce(tmp_path):
    results = [finish(p) for p in [start(tmp_path / "meet", rank, 3) for rank in range(3)]]
    for rank, (code, out, err) in enumerate(results):
        assert code == 0, err
        parts = "".join(f" {10 * other + rank}" for other in range(3) for _ in range(rank))
        assert out.strip() == f"{rank}/3 sum 4.5 root rank 2 half {2 - rank % 2} parts{parts}"


def test_a_folder_of_an_earlier_run_is_refused(tmp_path):
    assert finish(start(tmp_path, 0, 1))[0] == 0
    code, _, err = finish(start(tmp_path, 0, 1))
    assert code == 2
    assert "give each run a new folder" in err and len(err.strip().splitlines()) == 1


def test_a_wrong_rank_is_one_line(tmp_path):
    code, _, err = finish(start(tmp_path, 5, 2))
    assert code == 2
    assert "BRAID_RANK=5" in err and len(err.strip().splitlines()) == 1
