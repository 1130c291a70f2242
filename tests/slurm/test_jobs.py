# SPDX-License-Identifier: Apache-2.0
"""Runs under a real SLURM: both launchers over both nodes, and every way in which a job ends before its run does."""

import pytest
from batch import STEPS
from fault_run import status, steps_of, table


@pytest.mark.parametrize("launcher, started_by", [("srun", "srun --mpi=pmix"), ("mpirun", "mpirun -n 2"), ("files", "BRAID_RENDEZVOUS")])
def test_a_run_over_both_nodes_is_the_run_of_a_plain_mpirun(batch, unbroken, launcher, started_by):
    job = batch.submit("--nodes=2", f"--launcher={launcher}")
    batch.wait_until_done(job, restarts=0)
    assert f"start 1 on n[1-2]: " in batch.output(job) and started_by in batch.output(job)
    batch.assert_is(unbroken, sessions=1)


@pytest.fixture
def seen(batch):
    """What each rank's environment says, by launch/submit's options."""
    program = batch.folder / "braid"
    program.write_text('#!/bin/bash\necho "rank on $SLURMD_NODENAME: GPUs $CUDA_VISIBLE_DEVICES, threads $OMP_NUM_THREADS; $*"\n')
    program.chmod(0o755)

    def submit(*options):
        job = batch.submit("--nodes=2", *options, BRAID_BINARY=str(program), OMP_NUM_THREADS="")
        batch.wait_until_done(job, restarts=0)
        return sorted(line.split(";")[0] for line in batch.output(job).splitlines() if line.startswith("rank on "))
    return submit


@pytest.mark.parametrize("launcher", ["srun", "mpirun", "files"])
def test_each_rank_sees_all_gpus_of_its_node(seen, launcher):
    assert seen("--gpus-per-node=2", f"--launcher={launcher}") == [
        f"rank on {node}: GPUs 0,1, threads 1" for node in ("n1", "n1", "n2", "n2")]


def test_a_rank_has_as_many_threads_as_slurm_gives_it_cores(seen):
    assert seen("--cpus-per-rank=2") == ["rank on n1: GPUs , threads 2", "rank on n2: GPUs , threads 2"]


@pytest.mark.parametrize("launcher", ["srun", "mpirun"])
def test_a_signal_saves_the_run_and_slurm_starts_it_again(batch, unbroken, launcher):
    job = batch.submit("--nodes=2", f"--launcher={launcher}")
    batch.wait_for_step(job, 60)
    batch.cluster.ask("scancel", "--batch", "--signal=USR1", job)
    batch.wait_until_done(job, restarts=1)
    assert "stopped before its end; this job waits for its next start" in batch.output(job)
    stopped_after = table(batch.out, "sessions")["first_step"][1]
    assert 60 < stopped_after < STEPS and stopped_after in batch.checkpoints()
    batch.assert_is(unbroken, sessions=2)


def test_a_cancelled_run_is_saved_and_not_started_again(batch):
    job = batch.submit("--nodes=2")
    batch.wait_for_step(job, 60)
    batch.cluster.ask("scancel", job)
    fields = batch.wait(job)
    assert (fields["JobState"], fields["Restarts"]) == ("CANCELLED", "0"), batch.output(job)
    assert status(batch.out)["state"] == "preempted" and batch.checkpoints()[-1] == status(batch.out)["last_step"] + 1


@pytest.mark.parametrize("notice", ["USR1", "TERM"])
def test_a_job_of_higher_priority_has_the_nodes_meanwhile(batch, unbroken, notice):
    """SIGUSR1 where the site sends the job's own signal (preempt_send_user_signal), else SIGTERM."""
    job = batch.submit("--nodes=2", "--partition=low", without=() if notice == "USR1" else ["#SBATCH --signal="])
    batch.wait_for_step(job, 60)
    urgent = batch.cluster.submit("--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    batch.jobs.append(urgent)
    assert batch.wait(urgent)["JobState"] == "COMPLETED"
    assert STEPS not in batch.checkpoints()
    batch.wait_until_done(job, restarts=1)
    assert table(batch.out, "sessions")["first_step"][1] > 60, batch.output(job)  # saved then, not only every 50 steps
    batch.assert_is(unbroken, sessions=2)


@pytest.mark.parametrize("found_by", ["slurm", "braid"])
def test_a_lost_node_costs_the_steps_since_the_last_checkpoint(batch, unbroken, found_by):
    """SLURM sees a lost node after minutes, unless told; the ranks that are left see it at once."""
    job = batch.submit("--nodes=2")
    batch.wait_for_step(job, 60)
    batch.cluster.kill_node("n2")
    if found_by == "slurm":
        batch.cluster.ask("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    else:
        batch.wait(job, "PENDING", "COMPLETING")
        assert "a node of this job does not answer" in batch.output(job)
    batch.cluster.start_node("n2")
    batch.wait_until_done(job, restarts=1)
    assert list(table(batch.out, "sessions")["first_step"]) == [0, 50]
    batch.assert_is(unbroken, sessions=2)


def test_a_run_stops_by_itself_before_the_time_limit(batch):
    # SIGCONT: a signal that says nothing to anybody.
    job = batch.submit("--nodes=2", "--time=1", "--sbatch=--signal=B:CONT@1", braid=["--set", "train.steps=1000000"], BRAID_MAX_RESTARTS="0")
    fields = batch.wait(job)
    assert (fields["JobState"], fields["ExitCode"]) == ("FAILED", "85:0"), batch.output(job)
    assert "not started again: 0 restarts are the limit" in batch.output(job)
    assert status(batch.out)["state"] == "preempted" and "time" in status(batch.out)["message"]
    assert batch.checkpoints()[-1] == len(table(batch.out, "train"))
