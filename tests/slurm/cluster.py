# SPDX-License-Identifier: Apache-2.0
"""A SLURM cluster of two nodes on this machine: munge, slurmctld and two slurmd from Debian's packages, with ports,
keys, state and logs of their own, so that a SLURM which is installed here for other ends is left alone."""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "sinfo", "mpirun")
NODES = ("n1", "n2")

CONFIG = """
ClusterName=braid-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits for as long as its credentials live: two minutes where nothing is said.
AuthInfo=socket={root}/munge/socket,cred_expire=5
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
TmpFS={root}/tmp-%n
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
MpiDefault=none
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
KillWait=6
SlurmdTimeout=300
GresTypes=gpu
{nodes}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=60 MaxTime=INFINITE
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE
"""


def missing():
    """Why there can be no cluster here; "" where there can."""
    if os.geteuid() != 0:
        return "only root can start a SLURM cluster"
    path = f"/usr/sbin:{os.environ['PATH']}"
    absent = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    return f"not installed: {', '.join(absent)} (launch/setup --test-packages adds them)" if absent else ""


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def tail(path, lines=15):
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no file)"


def wait_for(condition, seconds, what):
    """condition()'s first true value; AssertionError that calls `what` (a text or a function) when there is none."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")


class Cluster:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.processes = {}
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        self.environment |= {
            "PATH": f"/usr/sbin:{os.environ['PATH']}",
            "SLURM_CONF": str(root / "slurm.conf"),
            # Both nodes are this machine; messages between them need no other network.
            "OMPI_MCA_btl_tcp_if_include": "lo",
            "OMPI_MCA_oob_tcp_if_include": "lo",
        }

    def __enter__(self):
        try:
            self._start_munge()
            self._write_config()
            self._start("slurmctld", "slurmctld", "-D")
            for node in NODES:
                self.start_node(node)
            wait_for(lambda: all(state == "idle" for state in self.node_states().values()), 30,
                     lambda: f"two idle nodes, but {self.node_states()}\n{self.logs()}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self.ask("scancel", "--full", "--signal=KILL", "--user=root", check=False)
            self.ask("scancel", "--user=root", check=False)
            wait_for(lambda: not self.ask("squeue", "-h", check=False), 10, "no jobs")
        for name in reversed(list(self.processes)):
            self.stop(name)

    def _start_munge(self):
        folder = self.root / "munge"
        folder.mkdir(mode=0o711)
        subprocess.run(["mungekey", "--create", f"--keyfile={folder}/key"], env=self.environment, check=True)
        # --force: pytest's folders are closed to other users, which munged takes for a mistake.
        self._start("munged", "munged", "--foreground", "--force", f"--socket={folder}/socket", f"--key-file={folder}/key",
                    f"--pid-file={folder}/pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed",
                    "--num-threads=2", "--origin=127.0.0.1")
        wait_for((folder / "socket").exists, 10, lambda: f"munged\n{tail(self.root / 'munged.out')}")

    def _write_config(self):
        host = socket.gethostname().split(".")[0]
        ports = free_ports(1 + len(NODES))
        lines = [f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=1000 Gres=gpu:2"
                 for node, port in zip(NODES, ports[1:])]
        (self.root / "slurm.conf").write_text(
            CONFIG.format(root=self.root, host=host, controller_port=ports[0], nodes="\n".join(lines)))
        # Two devices of every machine, which play GPUs.
        (self.root / "gres.conf").write_text("Name=gpu File=/dev/zero\nName=gpu File=/dev/full\n")
        for name in ("state", *(f"{kind}-{node}" for kind in ("spool", "tmp") for node in NODES)):
            (self.root / name).mkdir()

    def _start(self, name, *command):
        with open(self.root / f"{name}.out", "ab") as log:
            self.processes[name] = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                                    env=self.environment, start_new_session=True)

    def start_node(self, node):
        self._start(f"slurmd-{node}", "slurmd", "-D", "-N", node)

    def stop(self, name, number=signal.SIGTERM):
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill_node(self, node):
        """As a power cut would: its slurmd, the step daemons it started, and what those run."""
        slurmd = self.processes.pop(f"slurmd-{node}")
        slurmd.kill()
        slurmd.wait()
        running = processes_with(f"SLURMD_NODENAME={node}", f"SLURM_CONF={self.root}/slurm.conf")
        for pid in [*step_daemons(running), *running]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def ask(self, *command, check=True, **environment):
        done = subprocess.run(command, env=self.environment | environment, stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=60)
        assert not check or done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def node_states(self):
        lines = self.ask("sinfo", "-h", "-N", "-o", "%N %T", "-p", "low", check=False).splitlines()
        return dict(line.split() for line in lines)

    def submit(self, *words, **environment):
        """sbatch; the job's number."""
        return self.ask("sbatch", "--parsable", *map(str, words), **environment).split(";")[0]

    def job(self, number):
        """Fields of a job as scontrol shows them."""
        line = self.ask("scontrol", "show", "job", "-o", number)
        return dict(word.split("=", 1) for word in line.split() if "=" in word)

    def wait(self, number, states, seconds, output=None):
        """Waits for a job to be in one of `states`; its fields."""
        def found():
            fields = self.job(number)
            return fields if fields["JobState"] in states else None
        def seen():
            return f"job {number} {states}, but {self.job(number)}\n{tail(output, 40) if output else ''}\n{self.logs()}"
        return wait_for(found, seconds, seen)

    def logs(self):
        names = [path for path in sorted(self.root.glob("*.out")) + sorted(self.root.glob("*.log")) if path.stat().st_size]
        return "\n".join(f"--- {path.name}\n{tail(path)}" for path in names)


def processes_with(*variables):
    """Processes with these in their environment."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if set(map(str.encode, variables)) <= set((folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
    return found


def parent_of(pid):
    """Process id and name."""
    fields = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    parent = int(fields["PPid"])
    return parent, pathlib.Path(f"/proc/{parent}/comm").read_text().strip()


def step_daemons(pids):
    """slurmstepd above these processes."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            parent, name = parent_of(pid)
            if name == "slurmstepd":
                found.add(parent)
    return found


if __name__ == "__main__":  # by hand: cluster.py FOLDER; then SLURM_CONF=FOLDER/slurm.conf sbatch …
    with Cluster(pathlib.Path(sys.argv[1])) as cluster:
        print(cluster.node_states(), flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
