# SPDX-License-Identifier: Apache-2.0
"""A stage in the middle of a pipeline that is lost: its neighbours wait for messages, and every console names it."""

import os
import re
import signal

from fault_run import log_of, ranks_of, started, steps_of, wait_for

STAGES = ["parallel.pipeline=3", "model.layers=3", "train.micro_batch=1", "train.steps=100000", "watchdog.heartbeat_seconds=3"]


def test_a_lost_stage_in_the_middle_is_named_and_the_job_ends(tmp_path):
    out = tmp_path / "run"
    with started(out, *STAGES, ranks=3) as process:
        wait_for(lambda: steps_of(out), what="a checkpoint")
        middle = next(pid for pid in ranks_of(process) if b"OMPI_COMM_WORLD_RANK=1\0" in open(f"/proc/{pid}/environ", "rb").read())
        os.kill(middle, signal.SIGSTOP)
        assert process.wait(40) != 0
        process.members |= set(ranks_of(process))
    lines = [line for line in log_of(out).splitlines() if "watchdog: " in line]
    assert {0, 2} <= {int(re.match(r"rank (\d)", line)[1]) for line in lines}, log_of(out)
    assert all(re.search(r"rank 1 on \S+ \(process \d+\) has been silent", line) for line in lines), lines
