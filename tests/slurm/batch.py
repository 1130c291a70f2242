# SPDX-License-Identifier: Apache-2.0
"""Jobs of a small run, submitted the way a user does, and what became of them."""

import re
import shutil
import subprocess

from cluster import wait_for
from fault_run import BRAID, ENVIRONMENT, MPIRUN, ROOT, TINY, assert_rows_once, assert_same_bits, steps_of, table

STEPS = 300
CONFIG = TINY.replace("steps = 20", f"steps = {STEPS}").replace("every = 4", "every = 50")
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"}


def unbroken_run(folder, ranks=2):
    (folder / "run.toml").write_text(CONFIG)
    command = [*MPIRUN, "-n", str(ranks), BRAID, "train", folder / "run.toml", "--out", folder / "run", "--device", "cpu"]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, timeout=120)
    return folder / "run"


class Batch:
    def __init__(self, cluster, folder):
        self.cluster, self.folder = cluster, folder
        self.out = folder / "run"
        (folder / "run.toml").write_text(CONFIG)
        self.jobs = []

    def submit(self, *options, config="run.toml", braid=(), without=(), **environment):
        """launch/submit; the job's number. `without`: beginnings of lines that the batch script shall not have."""
        words = [self._checkout(without) / "launch/submit", "--sbatch=--output=%x-%A.out", *options, config, "--out", self.out, "--device", "cpu", *braid]
        done = subprocess.run(list(map(str, words)), cwd=self.folder, text=True, capture_output=True, timeout=60,
                              env=self.cluster.environment | ENVIRONMENT_OF_JOBS | {"PATH": self.cluster.environment["PATH"]} | environment)
        assert done.returncode == 0, done.stdout + done.stderr
        self.jobs.append(re.search(r"Submitted batch job (\d+)", done.stdout)[1])
        return self.jobs[-1]

    def _checkout(self, without):
        if not without:
            return ROOT
        copy = self.folder / "checkout"
        for name in ("launch", "slurm"):
            shutil.copytree(ROOT / name, copy / name)
        script = copy / "slurm/train.sbatch"
        lines = [line for line in script.read_text().splitlines() if not line.startswith(tuple(without))]
        assert len(lines) < len(script.read_text().splitlines())
        script.write_text("\n".join(lines) + "\n")
        return copy

    def output(self, job):
        texts = [path.read_text(errors="replace") for path in self.folder.glob(f"*-{job}.out")]
        return "\n".join(texts)

    def wait_for_step(self, job, step):
        """Until that many steps are in the run file."""
        wait_for(lambda: self.rows() > step, 60, lambda: f"step {step} of job {job}\n{self.output(job)}\n{self.cluster.logs()}")

    def rows(self):
        try:
            return len(table(self.out, "train"))
        except OSError:  # not there yet
            return 0

    def wait(self, job, *states, seconds=90):
        """The job's fields once it has ended, or is in one of `states`."""
        wanted = set(states) or ENDED
        def found():
            fields = self.cluster.job(job)
            return fields if fields["JobState"] in wanted else None
        return wait_for(found, seconds, lambda: f"{wanted}, but {self.cluster.job(job)}\n{self.output(job)}\n{self.cluster.logs()}")

    def wait_until_done(self, job, restarts):
        fields = self.wait(job)
        assert (fields["JobState"], fields["ExitCode"]) == ("COMPLETED", "0:0"), self.output(job)
        assert fields["Restarts"] == str(restarts), self.output(job)

    def assert_is(self, reference, sessions):
        """Losses, evaluations and final weights, and each step once."""
        assert_same_bits(self.out, reference, STEPS)
        assert_rows_once(self.out, STEPS, sessions)

    def checkpoints(self):
        return steps_of(self.out)

    def end(self):
        for job in self.jobs:
            self.cluster.ask("scancel", "--full", "--signal=KILL", job, check=False)
            self.cluster.ask("scancel", job, check=False)
        wait_for(lambda: not self.cluster.ask("squeue", "-h", "-t", "all", "-o", "%i %T", check=False).count("ING"), 30,
                 lambda: f"no jobs left\n{self.cluster.ask('squeue')}")


ENVIRONMENT_OF_JOBS = {name: value for name, value in ENVIRONMENT.items() if name.startswith(("OMP", "BRAID"))} | {"BRAID_BINARY": str(BRAID)}
