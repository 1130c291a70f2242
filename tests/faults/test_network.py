# SPDX-License-Identifier: Apache-2.0
"""One run over two hosts whose cable is cut: both sides name whom they lost and end, and the run goes on afterwards."""

import json
import re
import time

import pytest
from fault_run import (assert_rows_once, assert_same_bits, log_of, started, status, steps_of, wait_for,
                       wait_for_checkpoint, words)  # fmt: skip
from namespaces import hosts, missing

REASON = missing()
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)

STEPS = 200
HEARTBEAT = 3
RANKS_END = HEARTBEAT + 15  # seconds from the cut
JOB_ENDS = HEARTBEAT + 40
OPTIONS = [f"train.steps={STEPS}", "checkpoint.every=40", "train.eval_every=0"]


def over(network, out, ranks_each, heartbeat=HEARTBEAT):
    return network.mpirun(ranks_each) + words(out, *OPTIONS, f"watchdog.heartbeat_seconds={heartbeat}")


def run_to_the_end(network, out, ranks_each):
    with started(out, command=over(network, out, ranks_each)) as process:
        assert process.wait(120) == 0, log_of(out)
    assert status(out)["state"] == "done"


def lines_of(out, rank):
    """What a rank said of the failure, as far as mpirun heard it."""
    return re.findall(rf"^\[1,{rank}\]<stderr>:(.*watchdog: .*)$", log_of(out), re.M)


def assert_named(out, network, ranks_each):
    """On the consoles of host 1 whom it lost; beyond the cut no console is heard, but each rank leaves a file."""
    beyond = range(ranks_each, 2 * ranks_each)
    lost = ", ".join(rf"rank {rank} on {network.host(2)} \(process \d+\)" for rank in beyond)
    for rank in range(ranks_each):
        (line,) = lines_of(out, rank)
        assert re.match(rf"rank {rank} on {network.host(1)}: watchdog: {lost} ha(s|ve) been silent for", line), line
    for rank in beyond:
        (path,) = out.glob(f"collectives-rank-{rank}-*.json")
        verdict = json.loads(path.read_text())["verdict"]
        assert re.match(rf"watchdog: rank 0 on {network.host(1)} \(process \d+\) has been silent for", verdict), verdict


@pytest.mark.parametrize("cut, ranks_each", [(2, 1), (1, 2)])
def test_a_cut_cable_ends_the_job_on_both_sides_and_the_same_command_goes_on(tmp_path, cut, ranks_each):
    with hosts(tmp_path, 2) as network:
        reference, out = tmp_path / "whole", tmp_path / "run"
        run_to_the_end(network, reference, ranks_each)
        with started(out, command=over(network, out, ranks_each)) as process:
            wait_for_checkpoint(out)
            network.cut(cut)
            start = time.monotonic()
            for host in (1, 2):
                wait_for(lambda: not network.programs(host, "braid"), RANKS_END, f"the end of the ranks on host {host}")
            assert process.wait(JOB_ENDS - (time.monotonic() - start)) != 0
            assert_named(out, network, ranks_each)
        assert steps_of(out)[-1] < STEPS
        network.mend(cut)
        run_to_the_end(network, out, ranks_each)
        assert "resumed: from " in log_of(out)
        assert_same_bits(out, reference, STEPS)
        assert_rows_once(out, STEPS, sessions=2, held_out=False)


def test_a_cable_that_is_back_soon_disturbs_nothing(tmp_path):
    with hosts(tmp_path, 2) as network:
        reference, out = tmp_path / "whole", tmp_path / "run"
        run_to_the_end(network, reference, 1)
        with started(out, command=over(network, out, 1, heartbeat=30)) as process:
            wait_for_checkpoint(out)
            network.cut(2)
            before = steps_of(out)
            time.sleep(2)
            assert process.poll() is None and steps_of(out)[-1] <= before[-1] + 40
            network.mend(2)
            assert process.wait(60) == 0, log_of(out)
        assert lines_of(out, 0) == [] and not list(out.glob("collectives-*"))
        assert_same_bits(out, reference, STEPS)
