# SPDX-License-Identifier: Apache-2.0
"""An exception on one rank ends the whole job within seconds, with that rank's message."""

import os
import subprocess
import time

PROGRAM = os.path.join(os.environ["BRAID_BUILD"], "tests", "throwing_rank")


def test_one_failing_rank_ends_the_job_with_its_message():
    start = time.monotonic()
    done = subprocess.run(["mpirun", "-q", "--oversubscribe", "-n", "3", PROGRAM], capture_output=True, text=True, timeout=60)
    assert time.monotonic() - start < 15
    assert done.returncode == 1
    assert done.stderr.count("the third shelf is empty") == 1
    assert "rank 1 on " in done.stderr
