# SPDX-License-Identifier: Apache-2.0
"""A rank that is stopped, dead, late or out of step is named on every console, and the job ends; nothing else raises an alarm."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

PROGRAM = os.path.join(os.environ["BRAID_BUILD"], "tests", "watchdog_probe")
RANKS = 3


class Outcome:
    """How a job ended: its exit code, each rank's lines on the error output, and the files it left."""

    def __init__(self, code, lines, seconds, folder):
        self.code, self.lines, self.seconds, self.folder = code, lines, seconds, folder

    def watchdog_lines(self, rank):
        return [line for line in self.lines[rank] if "watchdog: " in line]

    def reports(self):
        return {path.name: json.loads(path.read_text()) for path in self.folder.glob("collectives-*.json")}

    def only_report(self):
        (report,) = self.reports().values()
        return report


def arguments(folder, options):
    return [PROGRAM, f"folder={folder}", *(f"{name}={value}" for name, value in options.items())]


def run_under_mpi(folder, **options):
    command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "--tag-output", "-n", str(RANKS)]
    start = time.monotonic()
    done = subprocess.run([*command, *arguments(folder, options)], capture_output=True, text=True, errors="replace", timeout=90)
    lines = {rank: re.findall(rf"^\[1,{rank}\]<stderr>:(.*)$", done.stderr, re.M) for rank in range(RANKS)}
    return Outcome(done.returncode, lines, time.monotonic() - start, folder)


def start_rank(folder, rank, options, prefix=()):
    env = {name: value for name, value in os.environ.items() if not name.startswith("OMPI_")}
    env.update(BRAID_RENDEZVOUS=str(folder / "meet"), BRAID_RANK=str(rank), BRAID_WORLD=str(RANKS))
    return subprocess.Popen([*prefix, *arguments(folder, options)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def run_by_rendezvous(folder, stopped=None, **options):
    """Ranks without a launcher; nobody else ends the stopped one."""
    start = time.monotonic()
    ranks = [start_rank(folder, rank, options) for rank in range(RANKS)]
    errors, codes = {}, {}
    for rank in sorted(range(RANKS), key=lambda r: r == stopped):
        if rank == stopped:
            ranks[rank].send_signal(signal.SIGCONT)
        errors[rank] = ranks[rank].communicate(timeout=60)[1].splitlines()
        codes[rank] = ranks[rank].returncode
    return Outcome(codes, errors, time.monotonic() - start, folder)


def check_named(outcome, blamed, words, ranks):
    """Each of the ranks has said once who is to blame, and all the same."""
    for rank in ranks:
        (line,) = outcome.watchdog_lines(rank)
        assert re.match(rf"rank {rank} on \S+: watchdog: ", line)
        assert re.search(rf"rank {blamed} on \S+ \(process \d+\) {words}", line), line
        assert "on host, sequence " in line


def check_report(outcome, answering):
    report = outcome.only_report()
    assert [rank["rank"] for rank in report["ranks"]] == list(range(RANKS))
    for rank in report["ranks"]:
        assert rank["host"]
        assert (len(rank["entries"]) > 3) == (rank["rank"] in answering), rank["rank"]
    assert report["verdict"].startswith("watchdog: ")
    return report


@pytest.mark.parametrize("blamed", [1, 2])
def test_a_stopped_rank_is_named_and_the_job_ends(tmp_path, blamed):
    outcome = run_under_mpi(tmp_path, act="stop", rank=blamed, heartbeat=2, collective=60)
    assert outcome.code != 0
    assert outcome.seconds < 2 + 30
    others = set(range(RANKS)) - {blamed}
    check_named(outcome, blamed, "has been silent for 2.* s; waiting in all_reduce of 3.9 KiB float32", others)
    assert len(outcome.watchdog_lines(blamed)) <= 1
    report = check_report(outcome, others)
    assert report["ranks"][blamed]["contact"] == "silent"
    assert report["ranks"][blamed]["last_beat"]["operation"]
    assert (tmp_path / "status.txt").read_text() == outcome.watchdog_lines(0)[0]


def test_a_stopped_rank_is_named_by_the_collectives_timeout_too(tmp_path):
    outcome = run_under_mpi(tmp_path, act="stop", rank=1, heartbeat=60, collective=1)
    assert outcome.seconds < 1 + 30
    check_named(outcome, 1, "has been silent for", {0, 2})


def test_without_rank_0_each_rank_names_it_and_writes_its_own_file(tmp_path):
    outcome = run_under_mpi(tmp_path, act="stop", rank=0, heartbeat=2, collective=60)
    assert outcome.code != 0
    check_named(outcome, 0, "has been silent for", {1, 2})
    reports = outcome.reports()
    assert sorted(name[:18] for name in reports) == ["collectives-rank-1", "collectives-rank-2"]
    for report in reports.values():
        assert [rank["contact"] for rank in report["ranks"]] == ["silent", "answers"]


def guards_of(mpirun):
    """The shells that would kill an mpirun which outlives its ranks."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue
        if words[0] == "sh" and words[-3:-2] == [str(mpirun)]:
            found.append(int(path.parent.name))
    return found


def wait_until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_an_mpirun_that_does_not_end_is_killed(tmp_path):
    command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(RANKS)]
    command += arguments(tmp_path, {"act": "kill", "rank": 1, "heartbeat": 60, "collective": 60, "abort": 1})
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: list(tmp_path.glob("collectives-*")), 30)
    process.send_signal(signal.SIGSTOP)  # as good as one that waits for a daemon it cannot reach
    assert wait_until(lambda: guards_of(process.pid), 5)
    assert process.wait(30) == -signal.SIGKILL
    assert wait_until(lambda: not guards_of(process.pid), 3)


def test_an_mpirun_that_ends_is_not_waited_for_any_longer(tmp_path):
    command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(RANKS)]
    command += arguments(tmp_path, {"act": "sleep", "seconds": 20, "rank": 1, "heartbeat": 60, "collective": 2, "abort": 3})
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: guards_of(process.pid), 40)
    assert process.wait(30) > 0
    assert wait_until(lambda: not guards_of(process.pid), 3)


@pytest.mark.parametrize("act", ["exit", "kill"])
def test_a_dead_rank_is_named_at_once(tmp_path, act):
    outcome = run_under_mpi(tmp_path, act=act, rank=2, heartbeat=60, collective=60)
    assert outcome.code != 0
    assert outcome.seconds < 15
    check_named(outcome, 2, "ended without saying goodbye; waiting in all_reduce", {0, 1})
    check_report(outcome, {0, 1})


@pytest.mark.parametrize("crashed", [0, 1])
def test_a_crashing_rank_tells_where_it_was(tmp_path, crashed):
    outcome = run_under_mpi(tmp_path, act="crash", rank=crashed, heartbeat=60, collective=60)
    assert outcome.code != 0
    assert outcome.seconds < 15
    for rank in range(RANKS):
        (line,) = outcome.watchdog_lines(rank)
        assert re.search(rf"watchdog: rank {crashed} on \S+ crashed: Segmentation fault; ", line)
    check_report(outcome, set(range(RANKS)))


@pytest.mark.parametrize("blamed", [0, 1, 2])
def test_another_size_is_out_of_step(tmp_path, blamed):
    outcome = run_under_mpi(tmp_path, act="size", rank=blamed)
    assert outcome.code != 0
    called = "is out of step: called all_reduce of 27.3 KiB float32 where rank . called all_reduce of 3.9 KiB float32"
    check_named(outcome, blamed, called, range(RANKS))


@pytest.mark.parametrize("blamed", [0, 1])
def test_another_operation_is_out_of_step(tmp_path, blamed):
    outcome = run_under_mpi(tmp_path, act="operation", rank=blamed)
    assert outcome.code != 0
    check_named(outcome, blamed, "is out of step: called barrier where rank . called all_reduce of 3.9 KiB float32", range(RANKS))


def test_a_rank_that_comes_too_late_is_named(tmp_path):
    outcome = run_under_mpi(tmp_path, act="sleep", rank=1, seconds=20, collective=2)
    assert outcome.code == 1
    assert outcome.seconds < 15
    check_named(outcome, 1, r"has not entered \(its last call was all_reduce .*\); waiting for 2.* s in all_reduce", range(RANKS))
    check_report(outcome, set(range(RANKS)))


def test_a_rank_that_ended_early_is_named(tmp_path):
    outcome = run_under_mpi(tmp_path, act="leave", rank=2, collective=1)
    assert outcome.code != 0  # an mpirun may trip over an abort after a rank's orderly end: then the guard ends it
    assert outcome.seconds < 1 + 30
    check_named(outcome, 2, "has ended its work and will not enter", {0, 1})


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"late": 3, "heartbeat": 2},
        {"act": "sleep", "seconds": 1.5, "collective": 3},
        {"act": "patient", "seconds": 3, "collective": 1},
    ],
    ids=["clean end", "ranks end seconds apart", "slow rank", "patient wait"],
)
def test_nothing_is_said_where_nothing_is_wrong(tmp_path, options):
    outcome = run_under_mpi(tmp_path, **options)
    assert (outcome.code, outcome.lines) == (0, {rank: [] for rank in range(RANKS)})
    assert not outcome.reports()


def test_an_agreed_end_raises_no_alarm(tmp_path):
    outcome = run_under_mpi(tmp_path, act="agree")
    assert outcome.code == 1
    assert outcome.lines == {0: ["all agree that it ends"], 1: [], 2: []}


@pytest.mark.parametrize("failed", [0, 1])
def test_an_exception_is_told_instead_of_a_lost_rank(tmp_path, failed):
    outcome = run_under_mpi(tmp_path, act="throw", rank=failed)
    assert outcome.code == 1
    assert outcome.seconds < 10
    said = [line for lines in outcome.lines.values() for line in lines]
    assert len(said) == 1 and said[0].endswith(": the third shelf is empty")
    assert said[0].startswith(f"rank {failed} on ")


def state_of(process):
    """The letter of /proc: T stopped, Z ended and not yet collected, "" gone."""
    try:
        return open(f"/proc/{process}/stat").read().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return ""


def test_ranks_end_even_where_aborting_the_job_hangs(tmp_path):
    """The launcher is stopped too: MPI_Abort has nobody who does what it asks for."""
    options = {"act": "stop", "rank": 1, "after": 40, "calls": 1000, "heartbeat": 2, "collective": 60, "abort": 2}
    command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(RANKS), *arguments(tmp_path, options)]
    launcher = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ranks = []
    try:
        while len(ranks) < RANKS:
            time.sleep(0.1)
            ranks = [int(p) for p in open(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read().split()]
        time.sleep(1)
        launcher.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        while sum(state_of(rank) in "Z" for rank in ranks) < 2:
            assert time.monotonic() - start < 2 + 30
            time.sleep(0.1)
        assert [state_of(rank) for rank in ranks].count("T") == 1
        assert (tmp_path / "status.txt").exists()
    finally:
        launcher.send_signal(signal.SIGCONT)
        try:
            launcher.wait(timeout=20)
        except subprocess.TimeoutExpired:
            launcher.kill()
            launcher.wait()
        for rank in ranks:
            if state_of(rank) not in ("", "Z"):
                os.kill(rank, signal.SIGKILL)


def test_ranks_without_a_launcher_end_with_the_one_that_failed(tmp_path):
    outcome = run_by_rendezvous(tmp_path, act="throw", rank=1)
    assert outcome.code == {0: 1, 1: 1, 2: 1}
    assert outcome.seconds < 10
    assert outcome.lines[1][0].endswith(": the third shelf is empty")
    for rank in (0, 2):
        (line,) = outcome.lines[rank]
        assert re.fullmatch(rf"rank {rank} on \S+: ends because rank 1 on \S+ failed: the third shelf is empty", line)


def test_ranks_without_a_launcher_end_when_one_is_stopped(tmp_path):
    outcome = run_by_rendezvous(tmp_path, stopped=2, act="stop", rank=2, heartbeat=2, collective=60)
    check_named(outcome, 2, "has been silent for", {0, 1})
    check_report(outcome, {0, 1})
    assert outcome.code[0] == outcome.code[1] == 1
    assert outcome.code[2] != 0  # woken after the others had gone: it has heard why
    assert len(outcome.watchdog_lines(2)) == 1


def test_ranks_without_a_launcher_that_end_in_order_raise_no_alarm(tmp_path):
    outcome = run_by_rendezvous(tmp_path, late=2, heartbeat=2)
    assert outcome.code == {0: 0, 1: 0, 2: 0}
    assert outcome.lines == {0: [], 1: [], 2: []}


def test_a_job_that_was_suspended_as_a_whole_goes_on(tmp_path):
    options = {"calls": 60, "pause": 0.1, "heartbeat": 2, "collective": 2}
    ranks = [start_rank(tmp_path, rank, options) for rank in range(RANKS)]
    time.sleep(2)
    for wake in (signal.SIGSTOP, signal.SIGCONT):
        for rank in ranks:
            rank.send_signal(wake)
        time.sleep(4)
    for rank in ranks:
        assert (rank.communicate(timeout=60)[1], rank.returncode) == ("", 0)


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True)


@pytest.fixture
def two_networks():
    """Two network namespaces with one cable between them: their names, and what cuts it."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and ip (package iproute2)")
    names = [f"braid-{os.getpid()}-{side}" for side in "ab"]
    try:
        for name in names:
            ip("netns", "add", name)
    except subprocess.CalledProcessError as problem:
        pytest.skip(f"no network namespaces here: {problem.stderr.strip()}")
    try:
        ip("link", "add", "cable", "netns", names[0], "type", "veth", "peer", "name", "cable", "netns", names[1])
        for i, name in enumerate(names):
            ip("-n", name, "address", "add", f"10.77.0.{i + 1}/24", "dev", "cable")
            ip("-n", name, "link", "set", "cable", "up")
        yield names, lambda: ip("-n", names[0], "link", "set", "cable", "down")
    finally:
        for name in names:
            ip("netns", "delete", name)


def test_ranks_on_both_ends_of_a_cut_cable_end_themselves(tmp_path, two_networks):
    names, cut = two_networks
    options = {"calls": 10000, "pause": 0.05, "heartbeat": 3, "collective": 60}
    ranks = [start_rank(tmp_path, rank, options, ["ip", "netns", "exec", names[rank > 0]]) for rank in range(RANKS)]
    time.sleep(2)
    assert [rank.poll() for rank in ranks] == [None] * RANKS
    cut()
    start = time.monotonic()
    lines = {rank: process.communicate(timeout=60)[1].splitlines() for rank, process in enumerate(ranks)}
    assert time.monotonic() - start < 3 + 30
    assert [rank.returncode for rank in ranks] == [1] * RANKS
    outcome = Outcome(1, lines, 0, tmp_path)
    (line,) = outcome.watchdog_lines(0)
    assert re.search(r"rank 1 on .*, rank 2 on .* have been silent for", line)
    for rank in (1, 2):
        (line,) = outcome.watchdog_lines(rank)
        assert re.search(r"rank 0 on \S+ \(process \d+\) has been silent for", line)
    assert len(outcome.reports()) == 3
