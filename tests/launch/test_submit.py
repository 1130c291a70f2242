# SPDX-License-Identifier: Apache-2.0
"""launch/submit with a pretended sbatch: which script is submitted with which options, shown before it is."""

import pytest
from conftest import only_line

LISTING = "printf 'run state\\n2l_mhc_s1  waiting  -\\n2l_mhc_s2  done  1.5\\n4l_mhc_s1  failed - died\\n'"


@pytest.fixture
def submit(machine):
    machine.program("sbatch", 'echo "BRAID_LAUNCHER=${BRAID_LAUNCHER-} | BRAID_ROOT=$BRAID_ROOT sbatch $*" >>"$CALLS"; echo "Submitted batch job 7"')
    machine.program("braid", f'echo "braid $*" >>"$CALLS"; {LISTING}', folder=machine.checkout / "build")
    (machine.checkout / "one.toml").write_text("[train]\nsteps = 1\n")
    (machine.checkout / "many.toml").write_text("[train]\nsteps = 1\n[sweep]\nlayers = [2, 4]\n")
    machine.submit = lambda *arguments, **environment: machine.run("submit", *arguments, **environment)
    return machine


def submitted(machine, result):
    """sbatch's command line, with the checkout's paths cut short."""
    assert result.returncode == 0, result.stderr
    return machine.calls()[-1].replace(str(machine.checkout), "HERE").split(" | ")[1]


def test_one_run_is_one_job(submit):
    line = submitted(submit, submit.submit("one.toml", "--out", "runs/a", "--set", "train.steps=5"))
    assert line == ("BRAID_ROOT=HERE sbatch --job-name=one --nodes=1 --ntasks-per-node=1 HERE/slurm/train.sbatch "
                    "one.toml --out runs/a --set train.steps=5")


def test_script_and_command_are_shown_before_the_job_is(submit):
    result = submit.submit("one.toml", "--out", "runs/a")
    script = (submit.checkout / "slurm/train.sbatch").read_text()
    said = result.stdout.replace(str(submit.checkout), "HERE")
    assert said.startswith(script)
    assert said[len(script):] == f"launch/submit: {submitted(submit, result)}\nSubmitted batch job 7\n"


def test_options_become_sbatchs(submit):
    line = submitted(submit, submit.submit(
        "--nodes", "4", "--gpus-per-node=8", "--cpus-per-rank", "12", "--time", "2-00:00:00", "--partition", "gpu", "--account=me",
        "--qos", "long", "--name", "night", "--sbatch=--constraint=h100", "--sbatch", "--exclusive", "one.toml", "--out", "a"))
    assert line.split(" HERE/slurm")[0] == (
        "BRAID_ROOT=HERE sbatch --job-name=night --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=12 --time=2-00:00:00 "
        "--partition=gpu --account=me --qos=long --constraint=h100 --exclusive")


def test_ranks_need_not_be_one_per_gpu(submit):
    line = submitted(submit, submit.submit("--ranks-per-node", "2", "--gpus-per-node", "1", "one.toml", "--share-gpu"))
    assert "--ntasks-per-node=2 --gpus-per-node=1" in line


def test_a_sweep_is_an_array_with_an_element_per_run(submit):
    line = submitted(submit, submit.submit("--at-once", "2", "many.toml", "--out", "runs/s"))
    assert "--array=1-3%2" in line and line.endswith("HERE/slurm/sweep.sbatch many.toml --out runs/s")
    assert submit.calls()[0] == "braid sweep many.toml --out runs/s --dry-run"


def test_all_starts_of_a_job_have_one_folder(submit):
    line = submitted(submit, submit.submit("one.toml"))
    assert " one.toml --out runs/one-2" in line


def test_the_launcher_is_the_jobs_environment(submit):
    submit.submit("--launcher", "mpirun", "one.toml")
    assert submit.calls()[-1].startswith("BRAID_LAUNCHER=mpirun |")


def test_the_clusters_own_settings_are_read(submit):
    (submit.checkout / "slurm/site.sh").write_text("export BRAID_LAUNCHER=files\n")
    submit.submit("one.toml")
    assert submit.calls()[-1].startswith("BRAID_LAUNCHER=files |")


def test_a_dry_run_needs_no_slurm_and_submits_nothing(submit):
    (submit.programs / "sbatch").unlink()
    result = submit.submit("--dry-run", "one.toml", PATH=f"{submit.programs}:/usr/bin:/bin")
    assert result.returncode == 0 and "sbatch --job-name=one" in result.stdout
    assert submit.calls() == []


@pytest.mark.parametrize("arguments, words", [
    ([], ["no configuration file"]),
    (["missing.toml"], ["missing.toml", "no such"]),
    (["--nodes", "two", "one.toml"], ["--nodes two", "number"]),
    (["--gpus-per-node=0", "one.toml"], ["--gpus-per-node 0"]),
    (["--nodes"], ["--nodes needs a value"]),
    (["--launcher", "ssh", "one.toml"], ["--launcher ssh", "srun, mpirun or files"]),
    (["--gpus", "2", "one.toml"], ["--gpus", "after the configuration"]),
])
def test_wrong_use_is_one_line(submit, arguments, words):
    result = submit.submit(*arguments)
    assert result.returncode == 2 and submit.calls() == []
    assert all(word in only_line(result.stderr) for word in words), result.stderr


def test_a_machine_without_sbatch_is_one_line(submit):
    submit.program("env", 'exec /usr/bin/env "$@"')
    folder = submit.checkout / "tools"
    folder.mkdir()
    for name in ("bash", "dirname", "sed", "date", "cat", "grep"):
        (folder / name).symlink_to(f"/usr/bin/{name}")
    result = submit.submit("one.toml", PATH=str(folder))
    assert result.returncode == 1 and "sbatch was not found" in only_line(result.stderr)


def test_a_refusal_of_sbatch_is_an_error(submit):
    submit.program("sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")
    result = submit.submit("one.toml")
    assert result.returncode == 1 and "invalid partition" in result.stderr
