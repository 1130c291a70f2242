# SPDX-License-Identifier: Apache-2.0
"""launch/local: which ranks on which GPUs with which threads, shown by what a pretended mpirun is called with."""

import os
import signal
import time

import pytest

# Writes down what reaches it, and what it can read from its input. LIVES=1: goes on after USR1; LIVES=2: after TERM, too.
LISTENER = r"""
trap 'echo USR1 >>"$CALLS"; ((${LIVES:-0} >= 1)) || exit 85' USR1
trap 'echo TERM >>"$CALLS"; ((${LIVES:-0} >= 2)) || exit 143' TERM
trap 'echo INT >>"$CALLS"' INT
read -r -t 5 line && echo "read $line" >>"$CALLS"
echo ready >>"$CALLS"
while :; do sleep 0.05; done
"""

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
                    "mpirun -n 2 --bind-to none --allow-run-as-root build/braid train one.toml")


def test_the_printed_line_is_the_line_that_ran(local):
    result = local.local("-n", "2", "one.toml", "--set", "data.note=two words")
    printed = result.stdout.splitlines()[-1]
    assert printed.startswith("launch/local: OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE OMPI_MCA_orte_execute_quiet=1 mpirun -n 2 ")
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
    assert "GPUS=0,1 | mpirun -n 2 " in call
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
    assert "GPUS=0,2 | mpirun -n 2 " in only_call(local, result)
    assert result.stderr == ""


@pytest.mark.parametrize("visible, ranks", [("1", 1), ("2,0", 2), ("GPU-1aaa", 1)])
def test_cuda_visible_devices_is_honoured(local, visible, ranks):
    local.gpus(H200, H200, H200)
    result = local.local("one.toml", CUDA_VISIBLE_DEVICES=visible)
    assert f"GPUS={visible} | mpirun -n {ranks} " in only_call(local, result)
    assert "CUDA_DEVICE_ORDER" not in result.stdout


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_hidden_gpus_mean_cpu_ranks(local, visible):
    local.gpus(H200, H200)
    assert "2 CPU rank(s)" in local.local("one.toml", CUDA_VISIBLE_DEVICES=visible).stdout


def test_the_option_beats_the_variable(local):
    local.gpus(H200, H200, H200)
    assert "GPUS=2 | mpirun -n 1 " in only_call(local, local.local("--gpus=2", "one.toml", CUDA_VISIBLE_DEVICES="0"))


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


@pytest.fixture
def listening(local):
    """launch/local under way with a launcher that listens; stopped(…) gives exit code and messages."""
    local.program("mpirun", LISTENER)
    local.program("braid", LISTENER, folder=local.checkout / "build")
    processes = []

    def start(config="one.toml", **environment):
        process = local.start("local", config, **environment)
        processes.append(process)
        local.wait_for_call("ready")
        return process
    local.listen = start
    yield local
    for process in processes:
        process.kill()
        process.communicate()


def stopped(process):
    _, messages = process.communicate(timeout=30)
    return process.returncode, messages


@pytest.mark.parametrize("config", ["one.toml", "many.toml"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_what_asks_to_stop_reaches_mpirun_or_the_sweep_as_usr1(listening, config, number):
    process = listening.listen(config)
    os.killpg(process.pid, number)  # as a terminal does: to all of the foreground
    code, messages = stopped(process)
    assert code == 85 and listening.calls() == ["ready", "USR1"]
    assert "stopping with a checkpoint" in messages


def test_it_says_how_to_go_on(listening):
    process = listening.listen()
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert said.splitlines()[-1] == "launch/local: stopped; the same command with the same --out goes on from here"


def test_only_a_second_interrupt_leaves_at_once(listening):
    process = listening.listen(LIVES="1")
    for number in (signal.SIGTERM, signal.SIGINT):
        os.killpg(process.pid, number)
        time.sleep(0.5)
    assert process.poll() is None and listening.calls() == ["ready", "USR1", "USR1"]
    os.killpg(process.pid, signal.SIGINT)
    code, messages = stopped(process)
    assert code == 130 and listening.calls()[3:] == ["TERM"]
    assert "goes on from the last one" in messages


def test_a_launcher_that_does_not_leave_is_killed(listening):
    process = listening.listen(LIVES="2")
    os.killpg(process.pid, signal.SIGINT)
    listening.wait_for_call("USR1")
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert stopped(process)[0] == 130 and 4 < time.monotonic() - start < 15


def test_a_signal_before_the_launcher_listens_is_a_stop_as_well(listening):
    listening.program("mpirun", 'echo ready >>"$CALLS"; exec sleep 30')
    process = listening.listen()
    os.killpg(process.pid, signal.SIGINT)
    assert stopped(process)[0] == 85


def test_the_keyboard_is_not_mpiruns(listening):
    process = listening.start("local", "one.toml")
    process.stdin.write("typed\n")
    process.stdin.flush()
    listening.wait_for_call("ready")
    os.killpg(process.pid, signal.SIGTERM)
    stopped(process)
    assert listening.calls() == ["ready", "USR1"]


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
