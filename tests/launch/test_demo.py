# SPDX-License-Identifier: Apache-2.0
"""launch/demo and launch/test around a pretended set-up, braid, braid-report and ctest."""

import pytest
from conftest import only_line

BRAID = r"""
echo "braid $*" >>"$CALLS"
case $1 in
  data) mkdir -p "${@: -1}"; [[ ! -e $(dirname "$CALLS")/no-data ]] || exit 2 ;;
  sweep) exit "${SWEEP_CODE:-0}" ;;
esac
"""


@pytest.fixture
def demo(machine):
    launch = machine.checkout / "launch"
    machine.recorder("setup", folder=launch)
    machine.program("braid", BRAID, folder=machine.checkout / "build")
    machine.program("python", 'echo "python $*" >>"$CALLS"; mkdir -p "${@: -1}"; touch "${@: -1}/report.html"',
                    folder=machine.checkout / ".deps/venv/bin")
    config = machine.checkout / "configs/mhc/demo_sweep.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[sweep]\n")
    (machine.checkout / "text").mkdir()
    machine.demo = lambda *arguments, **environment: machine.run("demo", *arguments, **environment)
    return machine


def calls_of(machine, *names):
    calls = [call.split("| ")[-1].replace(str(machine.checkout) + "/", "").strip() for call in machine.calls()]
    return [call for call in calls if call.split()[0] in names]


def test_the_demo_goes_from_text_to_report(demo):
    result = demo.demo("--text", "text")
    assert result.returncode == 0, result.stderr
    assert calls_of(demo, "setup", "braid", "python") == [
        "setup",
        "braid data bytes text --out runs/demo/data.partial",
        "braid sweep configs/mhc/demo_sweep.toml --ranks 2 --set data.path=runs/demo/data --out runs/demo",
        "python tools/braid-report runs/demo --out runs/demo/report",
    ]
    assert "runs/demo/report/report.html" in result.stdout
    assert len(result.stdout.split("Try next:\n")[1].splitlines()) == 3


def test_a_second_demo_keeps_the_shards_and_refuses_another_text(demo):
    assert demo.demo("--text", "text").returncode == 0
    assert demo.demo("--text", "text").returncode == 0
    assert len([call for call in calls_of(demo, "braid") if " data " in call]) == 1
    (demo.checkout / "other").mkdir()
    result = demo.demo("--text", "other")
    assert result.returncode == 2 and "choose another --out" in only_line(result.stderr)


def test_shards_that_broke_off_are_made_again(demo):
    broken = demo.calls_file.parent / "no-data"
    broken.touch()
    assert demo.demo("--text", "text").returncode == 2
    broken.unlink()
    assert demo.demo("--text", "text").returncode == 0
    assert len([call for call in calls_of(demo, "braid") if " data " in call]) == 2


def test_the_default_text_is_pythons_own_library(demo):
    assert demo.demo("--out", "elsewhere").returncode == 0
    assert "/lib/python3" in calls_of(demo, "braid")[0]
    assert calls_of(demo, "braid")[0].endswith("--out elsewhere/data.partial")


def test_gpus_decide_the_ranks(demo):
    demo.gpus(*[("NVIDIA H200", 143771, "9.0")] * 3)
    demo.demo("--text", "text")
    assert "--ranks 3 " in calls_of(demo, "braid")[1]
    demo.demo("--text", "text", "--device", "cpu", "--out", "cpu")
    assert "--ranks 2 " in calls_of(demo, "braid")[3]
    assert calls_of(demo, "setup")[1] == "setup --device cpu"


@pytest.mark.parametrize("code, reported", [(1, True), (2, False)])
def test_a_failed_sweep_is_reported_and_its_exit_code_passed_on(demo, code, reported):
    result = demo.demo("--text", "text", SWEEP_CODE=str(code))
    assert result.returncode == code
    assert bool(calls_of(demo, "python")) == reported


@pytest.mark.parametrize("arguments", [["--text", "nowhere"], ["--ranks", "x"], ["--out"], ["--fast"]])
def test_wrong_use_is_one_line(demo, arguments):
    result = demo.demo(*arguments)
    assert result.returncode == 2 and arguments[0] in only_line(result.stderr)
    assert demo.calls() == []


def ctest_call(machine, *arguments):
    (machine.checkout / "build/CTestTestfile.cmake").touch()
    machine.program("ctest",
                    'echo "OMP=$OMP_NUM_THREADS ROOT=$OMPI_ALLOW_RUN_AS_ROOT ctest $*" >>"$CALLS"; echo summary; exit 8')
    result = machine.run("test", *arguments)
    assert result.returncode == 8 and result.stdout.splitlines()[-1] == "summary"
    return machine.calls()[-1].replace(f"--test-dir {machine.checkout}/build --output-on-failure --no-tests=error", "…")


@pytest.mark.parametrize("arguments, expected", [
    ([], "… -LE ^long$"),
    (["--all"], "… "),
    (["--label", "mpi", "-V"], "… -L ^mpi$ -LE ^long$ -V"),
    (["--label", "long"], "… -L ^long$"),
])
def test_tests_are_chosen_by_label(demo, arguments, expected):
    assert ctest_call(demo, *arguments).strip() == f"OMP=1 ROOT=1 ctest {expected}".strip()
    assert calls_of(demo, "setup") == ["setup --test-packages"]


def test_tests_can_leave_the_set_up_out(demo):
    ctest_call(demo, "--no-setup")
    assert calls_of(demo, "setup") == []
