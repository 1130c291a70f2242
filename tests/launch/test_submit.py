# SPDX-License-Identifier: Apache-2.0
"""launch/submit: which batch script with which options of sbatch, shown by what a pretended sbatch is called with."""

import re
import shutil

import pytest
from conftest import only_line

SCRIPTS = {name: f"#!/bin/bash\n#SBATCH --nodes=1\necho this is {name}\n" for name in ("train", "train-mpirun", "sweep")}
LIST = """[[ $* == *--dry-run* ]] || exit 1
echo "$*" >>"$(dirname "$CALLS")/listed"
printf 'run  state  loss\\n'
for run in a b c; do printf '%s  waiting  -\\n' $run; done
printf '\\n'"""


@pytest.fixture
def submit(machine):
    machine.program("sbatch", 'echo "in $PWD: sbatch $*" >>"$CALLS"; echo "Submitted batch job 7"')
    machine.program("braid", LIST, folder=machine.checkout / "build")
    machine.program("date", "echo 20260102-030405")
    folder = machine.checkout / "slurm"
    folder.mkdir()
    for name, text in SCRIPTS.items():
        (folder / f"{name}.sbatch").write_text(text)
    (machine.checkout / "one.toml").write_text("[train]\nsteps = 1\n")
    (machine.checkout / "many.toml").write_text("[train]\nsteps = 1\n[sweep]\ndepths = [1, 2, 3]\n")
    machine.submit = lambda *arguments, **environment: machine.run("submit", *arguments, **environment)
    return machine


def submitted(machine, *arguments):
    """What sbatch was called with, without the checkout, in which it was called and the job runs."""
    result = machine.submit(*arguments)
    assert result.returncode == 0, result.stderr
    (call,) = machine.calls()
    start = f"in {machine.checkout}: sbatch --chdir={machine.checkout} "
    assert call.startswith(start)
    return call.removeprefix(start)


def test_a_run_goes_to_the_script_for_srun_with_a_folder_fixed_now(submit):
    assert submitted(submit, "one.toml") == (
        "--job-name=one slurm/train.sbatch one.toml --out runs/one-20260102-030405")


def test_mpirun_has_a_script_of_its_own(submit):
    assert " slurm/train-mpirun.sbatch one.toml " in submitted(submit, "--mpirun", "one.toml")


def test_options_become_those_of_sbatch(submit):
    call = submitted(submit, "--nodes", "2", "--tasks-per-node=4", "--cpus-per-task", "8", "--time", "1-12:00:00",
                     "--partition=gpu", "--account", "lab_a", "--name", "first", "one.toml")  # fmt: skip
    assert call.startswith("--job-name=first --nodes=2 --cpus-per-task=8 --time=1-12:00:00 --partition=gpu "
                           "--account=lab_a --ntasks-per-node=4 slurm/")


@pytest.mark.parametrize("options, words", [
    (["--gpus-per-node", "4"], "--gres=gpu:4 --ntasks-per-node=4 "),
    (["--gpus-per-node", "4", "--tasks-per-node", "2"], "--gres=gpu:4 --ntasks-per-node=2 "),
    (["--gpus-per-node", "0"], "--gres=none slurm/"),
    (["--gpus-per-node=0", "--tasks-per-node=3"], "--gres=none --ntasks-per-node=3 "),
])
def test_each_gpu_gets_a_rank_unless_told_otherwise(submit, options, words):
    assert f"--job-name=one {words}" in submitted(submit, *options, "one.toml")


def test_braids_options_and_folder_are_passed_on(submit):
    call = submitted(submit, "one.toml", "--set", "train.steps=3", "--out", "runs/mine", "--resume", "never")
    assert call.endswith("slurm/train.sbatch one.toml --out runs/mine --set train.steps=3 --resume never")


def test_a_sweep_is_an_array_with_an_element_for_each_run(submit):
    call = submitted(submit, "many.toml", "--set", "sweep.seeds=[1]")
    assert call == ("--job-name=many --array=0-2 slurm/sweep.sbatch many.toml --out runs/many-20260102-030405 "
                    "--set sweep.seeds=[1]")  # fmt: skip
    listed = (submit.calls_file.parent / "listed").read_text().strip()
    assert listed == "sweep many.toml --out runs/many-20260102-030405 --set sweep.seeds=[1] --dry-run"


def test_some_of_a_sweeps_runs_can_be_chosen(submit):
    assert " --array=1-2%1 slurm/sweep.sbatch " in submitted(submit, "--array", "1-2%1", "many.toml")


def test_from_another_folder_files_are_still_found(submit, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.toml").write_text("[train]\nsteps = 1\n")
    call = submitted(submit, str(tmp_path / "elsewhere/mine.toml"), "--out", "../results")
    assert call.endswith(f"slurm/train.sbatch {tmp_path}/elsewhere/mine.toml --out {tmp_path}/results")


def test_the_script_and_the_command_are_printed_before_the_job_is_given_away(submit):
    submit.program("sbatch", "echo Submitted batch job 7")
    text = submit.submit("one.toml", "--set", "data.note=two words").stdout
    line = next(line for line in text.splitlines() if line.startswith("launch/submit: "))
    assert line.startswith(f"launch/submit: sbatch --chdir={submit.checkout} --job-name=one ")
    assert line.endswith("--set data.note=two\\ words")
    assert text.index(SCRIPTS["train"]) < text.index(line) < text.index("Submitted batch job 7")


def test_a_dry_run_needs_no_slurm_and_submits_nothing(submit):
    result = submit.submit("--dry-run", "one.toml")
    assert result.returncode == 0 and SCRIPTS["train"] in result.stdout and submit.calls() == []
    assert submit.submit("--dry-run", "one.toml", PATH=path_without_sbatch(submit)).stdout == result.stdout


def path_without_sbatch(machine):
    """A PATH with the pretended programs and what the script needs of this machine's."""
    (machine.programs / "sbatch").unlink()
    for name in ("awk", "basename", "bash", "cat", "dirname", "env", "grep", "realpath", "sed"):
        (machine.programs / name).symlink_to(shutil.which(name))
    return str(machine.programs)


def test_without_sbatch_one_line_says_so(submit):
    result = submit.submit("one.toml", PATH=path_without_sbatch(submit))
    assert result.returncode == 1 and "sbatch was not found" in only_line(result.stderr) and result.stdout == ""


def test_sbatchs_own_failure_passes_through(submit):
    submit.program("sbatch", "echo 'sbatch: error: Invalid account' >&2; exit 3")
    result = submit.submit("one.toml")
    assert result.returncode == 3 and only_line(result.stderr) == "sbatch: error: Invalid account"


def test_a_sweep_that_braid_refuses_is_not_submitted(submit):
    submit.program("braid", "echo 'braid: many.toml: sweep.depths: expected numbers' >&2; exit 2", submit.checkout / "build")
    result = submit.submit("many.toml")
    assert result.returncode == 2 and "sweep.depths: expected numbers" in only_line(result.stderr)
    assert submit.calls() == []


@pytest.mark.parametrize("arguments, words", [
    ([], ["no configuration file"]),
    (["missing.toml"], ["missing.toml", "no such"]),
    (["--nodes", "two", "one.toml"], ["--nodes two", "number"]),
    (["--nodes", "0", "one.toml"], ["--nodes 0"]),
    (["--tasks-per-node=", "one.toml"], ["--tasks-per-node needs a value"]),
    (["--gpus-per-node", "-1", "one.toml"], ["--gpus-per-node -1"]),
    (["--cpus-per-task", "1.5", "one.toml"], ["--cpus-per-task 1.5"]),
    (["--time", "soon", "one.toml"], ["--time soon", "minutes"]),
    (["--partition", "two words", "one.toml"], ["--partition two words", "without blanks"]),
    (["--time"], ["--time needs a value"]),
    (["--ranks", "2", "one.toml"], ["--ranks", "after the configuration"]),
    (["--array", "0-2", "one.toml"], ["--array 0-2", "no [sweep]"]),
    (["--array", "all", "many.toml"], ["--array all", "counted from 0"]),
    (["--mpirun", "many.toml"], ["--mpirun", "[sweep]", "srun"]),
    (["one.toml", "--nodes", "2"], ["--nodes goes before"]),
    (["one.toml", "--out"], ["--out needs a value"]),
])
def test_wrong_use_is_one_line(submit, arguments, words):
    result = submit.submit(*arguments)
    line = only_line(result.stderr)
    assert result.returncode == 2 and submit.calls() == [] and result.stdout == ""
    for word in words:
        assert word in line


def test_the_folder_is_named_by_the_time_of_submission(submit):
    (submit.programs / "date").unlink()
    assert re.search(r"--out runs/one-20\d{6}-\d{6}$", submit.submit("--dry-run", "one.toml").stdout.strip())
