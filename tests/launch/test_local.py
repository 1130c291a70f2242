# SPDX-License-Identifier: Apache-2.0
"""launch/local: which ranks on which GPUs with which threads, shown by what a pretended mpirun is called with; and what
the job hears when the script gets a signal."""

import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

H200 = ("NVIDIA H200", 143771, "9.0")
L4 = ("NVIDIA L4", 23034, "8.9")
A100 = ("NVIDIA A100-PCIE-40GB", 40960, "8.0")


@pytest.fixture
def local(machine):
    machine.recorder("mpirun")
    machine.recorder("braid", folder=machine.checkout / "build")
    (machine.checkout / "one.toml").write_text("[train]\nsteps = 1\n")
    (machine.checkout / "many.toml").write_text("[train]\nsteps = 1\n\n  [sweep]\ndepths = [1, 2]\n")
    machine.local = lambda *arguments, **environment: machine.run("local", *arguments, **environment)
    return machine


def only_call(machine, result) -> str:
    assert result.returncode == 0, result.stderr
    calls = machine.calls()
    assert len(calls) == 1, calls
    return calls[0].replace(str(machine.checkout) + "/", "")


def refused(result, *words) -> None:
    assert result.returncode == 2, result.stdout + result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_without_a_gpu_the_ranks_share_the_cores(local):
    call = only_call(local, local.local("one.toml"))
    assert call == ("OMP=2 WAIT=PASSIVE GPUS=unset | "
                    "mpirun -q -n 2 --bind-to none --allow-run-as-root build/braid train one.toml")


def test_the_printed_line_is_the_line_that_ran(local):
    result = local.local("-n", "2", "one.toml", "--set", "data.note=two words")
    printed = result.stdout.splitlines()[-1]
    assert printed.startswith("launch/local: OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE mpirun -q -n 2 ")
    assert printed.endswith("--set data.note=two\\ words")
    assert local.calls()[0].endswith("--set data.note=two words")


def test_a_large_machine_gets_a_rank_per_four_cores_and_hyperthreads_do_not_count(local):
    local.cores(16, threads_per_core=2)
    call = only_call(local, local.local("one.toml"))
    assert call.startswith("OMP=4 WAIT=PASSIVE") and " -n 4 " in call


def test_a_container_quota_counts_as_fewer_cores(local):
    local.cores(16)
    quota = local.probe / "sys/fs/cgroup/cpu.max"
    quota.parent.mkdir(parents=True)
    quota.write_text("250000 100000\n")
    assert "on 3 core(s)" in local.local("-n", "1", "one.toml").stdout


def test_more_ranks_than_cores_are_oversubscribed_with_one_thread_each(local):
    call = only_call(local, local.local("-n", "6", "one.toml"))
    assert call.startswith("OMP=1 WAIT=PASSIVE") and " --oversubscribe " in call
    assert "--oversubscribe" not in local.local("-n", "4", "--dry-run", "one.toml").stdout


def test_cores_left_over_leave_the_wait_policy_alone(local):
    call = only_call(local, local.local("-n", "3", "one.toml"))
    assert call.startswith("OMP=1 WAIT= ")


def test_variables_that_are_set_already_win(local):
    call = only_call(local, local.local("-n", "2", "one.toml", OMP_NUM_THREADS="3", OMP_WAIT_POLICY="ACTIVE"))
    assert call.startswith("OMP=3 WAIT=ACTIVE")


def test_the_root_flag_is_for_root_only(local):
    assert "--allow-run-as-root" in local.local("--dry-run", "one.toml").stdout
    local.user("someone")
    assert "--allow-run-as-root" not in only_call(local, local.local("one.toml"))


def test_two_equal_gpus_get_a_rank_each_and_no_warning(local):
    local.gpus(H200, H200)
    result = local.local("one.toml")
    call = only_call(local, result)
    assert "GPUS=0,1 | mpirun -q -n 2 " in call
    assert "warning" not in result.stderr
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in result.stdout


def test_different_gpus_are_named_with_the_one_that_limits(local):
    local.gpus(H200, L4, A100)
    result = local.local("one.toml")
    assert only_call(local, result).count("-n 3 ") == 1
    warning = result.stderr.strip()
    assert "0 NVIDIA H200 (143771 MiB), 1 NVIDIA L4 (23034 MiB), 2 NVIDIA A100-PCIE-40GB (40960 MiB)" in warning
    assert warning.endswith("GPU 1 (NVIDIA L4, capability 8.9) limits all ranks")


def test_gpus_that_are_not_used_do_not_warn(local):
    local.gpus(H200, L4, H200)
    result = local.local("--gpus", "0,2", "one.toml")
    assert "GPUS=0,2 | mpirun -q -n 2 " in only_call(local, result)
    assert result.stderr == ""


@pytest.mark.parametrize("visible, ranks", [("1", 1), ("2,0", 2), ("GPU-1aaa", 1)])
def test_cuda_visible_devices_is_honoured(local, visible, ranks):
    local.gpus(H200, H200, H200)
    result = local.local("one.toml", CUDA_VISIBLE_DEVICES=visible)
    assert f"GPUS={visible} | mpirun -q -n {ranks} " in only_call(local, result)
    assert "CUDA_DEVICE_ORDER" not in result.stdout


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_hidden_gpus_mean_cpu_ranks(local, visible):
    local.gpus(H200, H200)
    assert "2 CPU rank(s)" in local.local("one.toml", CUDA_VISIBLE_DEVICES=visible).stdout


def test_the_option_beats_the_variable(local):
    local.gpus(H200, H200, H200)
    assert "GPUS=2 | mpirun -q -n 1 " in only_call(local, local.local("--gpus=2", "one.toml", CUDA_VISIBLE_DEVICES="0"))


def test_fewer_ranks_than_gpus_use_the_first_ones(local):
    local.gpus(H200, H200, L4)
    result = local.local("-n", "2", "one.toml")
    assert " -n 2 " in only_call(local, result)
    assert "on GPU 0 NVIDIA H200, 1 NVIDIA H200;" in result.stdout and result.stderr == ""


def test_sharing_a_gpu_must_be_asked_for(local):
    local.gpus(H200)
    refused(local.local("-n", "2", "one.toml"), "-n 2", "1 GPUs", "--share-gpu")
    assert only_call(local, local.local("-n", "2", "--share-gpu", "one.toml")).endswith("train one.toml --share-gpu")


def test_the_cpu_can_be_chosen_beside_gpus(local):
    local.gpus(H200, H200)
    local.driver("470.10")
    call = only_call(local, local.local("-n", "3", "one.toml", "--device", "cpu"))
    assert "GPUS=unset" in call and " -n 3 " in call
    assert call.endswith("build/braid train one.toml --device cpu")


def test_a_build_without_cuda_leaves_the_gpus_alone(local):
    local.gpus(H200, H200)
    (local.checkout / "build/CMakeCache.txt").write_text("BRAID_CUDA:BOOL=OFF\n")
    assert "CPU rank(s)" in local.local("one.toml").stdout
    refused(local.local("--gpus", "0", "one.toml"), "no CUDA")


def test_an_old_driver_is_one_line(local):
    local.driver("570.86.10")
    result = local.local("one.toml")
    assert result.returncode == 1 and local.calls() == []
    assert result.stderr.count("\n") == 1 and "570.86.10" in result.stderr and "580" in result.stderr


def test_gpus_are_found_without_nvidia_smi_unless_they_are_another_containers(local):
    local.driver("590.1")
    for i in range(2):
        information = local.probe / f"proc/driver/nvidia/gpus/0000:0{i}:00.0/information"
        information.parent.mkdir(parents=True)
        information.write_text(f"Model: \t\t NVIDIA H200\nGPU UUID: \t GPU-{i}aaa\nDevice Minor: \t {i}\n")
    (local.probe / "dev").mkdir()
    (local.probe / "dev/nvidia1").touch()
    assert "1 rank(s) on GPU 0 NVIDIA H200;" in local.local("one.toml").stdout


def test_a_sweep_starts_mpirun_itself(local):
    local.gpus(H200, H200)
    call = only_call(local, local.local("-n", "2", "many.toml", "--out", "here"))
    assert call == "OMP=2 WAIT=PASSIVE GPUS=0,1 | braid sweep many.toml --ranks 2 --out here"


def test_a_dry_run_starts_nothing(local):
    assert local.local("--dry-run", "one.toml").returncode == 0
    assert local.calls() == []


@pytest.mark.parametrize("code", [1, 2, 85])
def test_the_exit_code_passes_through(local, code):
    local.recorder("mpirun", code=code)
    assert local.local("one.toml").returncode == code


@pytest.mark.parametrize("arguments, words", [
    ([], ["no configuration file"]),
    (["missing.toml"], ["missing.toml", "no such"]),
    (["-n", "two", "one.toml"], ["-n two", "number"]),
    (["-n", "0", "one.toml"], ["-n 0"]),
    (["-n"], ["-n needs a value"]),
    (["--ranks", "2", "one.toml"], ["--ranks", "after the configuration"]),
    (["one.toml", "-n", "2"], ["-n goes before"]),
    (["--gpus", "0,5", "one.toml"], ["--gpus 0,5", "'5'", "0 1"]),
    (["--gpus", "0,0", "one.toml"], ["twice"]),
    (["--gpus", "0", "--device", "cpu", "one.toml"], ["contradicts"]),
    (["--device", "tpu", "one.toml"], ["tpu", "auto, cpu or cuda"]),
])
def test_wrong_use_is_one_line(local, arguments, words):
    local.gpus(H200, H200)
    refused(local.local(*arguments), *words)
    assert local.calls() == []


def test_gpus_on_a_machine_without_any_are_refused(local):
    refused(local.local("--gpus", "0", "one.toml"), "no usable GPU")


def test_a_visible_device_that_does_not_exist_is_refused(local):
    local.gpus(H200)
    refused(local.local("one.toml", CUDA_VISIBLE_DEVICES="3"), "CUDA_VISIBLE_DEVICES=3")


def test_a_missing_binary_is_one_line(local):
    refused(local.local("one.toml", BRAID_BINARY="/nowhere/braid"), "/nowhere/braid", "launch/setup")


# Writes down each signal it gets; USR1 ends it with 85 after half a second, TERM ends it at once with 143.
LISTENER = """
trap 'echo USR1 >>"$CALLS"; sleep 0.5; exit 85' USR1
trap 'echo TERM >>"$CALLS"; exit 143' TERM
trap 'echo INT >>"$CALLS"' INT
echo "started stdin=$(readlink /proc/$$/fd/0) group=$(cut -d' ' -f5 /proc/$$/stat)" >>"$CALLS"
for i in {1..200}; do sleep 0.1; done"""


def start_listener(local, config="one.toml", script=LISTENER, program="mpirun"):
    local.program(program, script, folder=local.checkout / "build" if program == "braid" else None)
    process = subprocess.Popen(
        [local.checkout / "launch/local", config], env=local.environment, cwd=local.checkout, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not local.calls() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)  # the script sets its traps right after it started the job
    return process


def finish(process):
    stdout, stderr = process.communicate(timeout=30)
    return process.returncode, stderr.splitlines()


def test_the_job_has_a_group_of_its_own_and_no_input(local):
    process = start_listener(local)
    process.send_signal(signal.SIGTERM)
    finish(process)
    started = local.calls()[0]
    assert "stdin=/dev/null" in started and not started.endswith(f"group={process.pid}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_becomes_one_usr1_and_is_told_in_one_line(local, number):
    process = start_listener(local)
    process.send_signal(number)
    code, lines = finish(process)
    assert code == 85 and local.calls()[1:] == ["USR1"]
    assert lines == ["launch/local: the run saves its state and stops (a second Ctrl-C leaves at once)"]


def test_a_sweep_hears_the_same(local):
    process = start_listener(local, "many.toml", program="braid")
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 85 and local.calls()[1:] == ["USR1"]


def test_only_a_second_interrupt_leaves_at_once(local):
    process = start_listener(local, script=LISTENER.replace("sleep 0.5; exit 85", ""))
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
        time.sleep(0.4)
    assert process.poll() is None and local.calls()[1:] == ["USR1"]
    process.send_signal(signal.SIGINT)
    code, lines = finish(process)
    assert code == 130 and local.calls()[1:] == ["USR1", "TERM"]
    assert len(lines) == 2 and "leaving at once" in lines[1]


def test_a_job_that_does_not_leave_is_killed(local):
    process = start_listener(local, script="trap '' TERM USR1; sleep 99 & echo started $! >>\"$CALLS\"; wait; sleep 99")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    start = time.monotonic()
    assert finish(process)[0] == 130 and 3 < time.monotonic() - start < 15
    (sleeper,) = re.findall(r"^started (\d+)$", local.calls()[0])
    command = Path(f"/proc/{sleeper}/cmdline")
    assert not (command.exists() and command.read_text())  # gone, or dead and not yet collected


def test_a_job_that_ends_of_itself_while_it_is_asked_keeps_its_exit_code(local):
    process = start_listener(local, script="trap 'exit 1' USR1; echo started >>\"$CALLS\"; for i in {1..200}; do sleep 0.1; done")
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 1


def test_a_killed_script_lets_the_job_save(local):
    process = start_listener(local)
    process.kill()
    process.wait()
    time.sleep(1)
    assert local.calls()[1:] == ["USR1"]
