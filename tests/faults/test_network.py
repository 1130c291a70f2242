# SPDX-License-Identifier: Apache-2.0
"""One run over two hosts whose cable is cut: both sides name whom they lost and end, and the run goes on afterwards."""

import json
import re
import time

import pytest
from fault_run import assert_same_bits, log_of, started, status, steps_of, wait_for, wait_for_checkpoint, words
from namespaces import hosts, missing

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

STEPS = 400
HEARTBEAT = 3
OPTIONS = [f"train.steps={STEPS}", "checkpoint.every=40", "checkpoint.keep=3", f"watchdog.heartbeat_seconds={HEARTBEAT}"]


def over(network, out, ranks_each=1):
    return network.mpirun(ranks_each) + words(out, *OPTIONS)


def run_to_the_end(network, out, ranks_each=1):
    with started(out, command=over(network, out, ranks_each)) as process:
        assert process.wait(120) == 0, log_of(out)
    assert status(out)["state"] == "done"


def test_a_cut(tmp_path):
    with hosts(tmp_path, 2) as network:
        reference, out = tmp_path / "whole", tmp_path / "run"
        t=time.monotonic()
        run_to_the_end(network, reference)
        print("whole", time.monotonic()-t)
        with started(out, command=over(network, out)) as process:
            wait_for_checkpoint(out)
            network.cut(2)
            t=time.monotonic()
            print("cut")
            for i in range(60):
                time.sleep(1)
                print(i, process.poll(), network.processes(1), network.processes(2))
                if process.poll() is not None and not network.processes(2): break
            print(log_of(out))
            print(list(out.iterdir()))
            for p in out.glob("*.json"): print(p, p.read_text()[:600])
        print(steps_of(out))
        import subprocess
        for n in network.processes(2): print(open(f"/proc/{n}/cmdline").read().split("\0"))
        network.mend(2)
        run_to_the_end(network, out)
        assert_same_bits(out, reference, STEPS)
