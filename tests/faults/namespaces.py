# SPDX-License-Identifier: Apache-2.0
"""Hosts for one mpirun that are network namespaces of this machine, joined by a bridge, with cables that can be cut.

The bridge lies in a namespace of its own, so that nothing of this machine's network is touched. Each namespace has its
own host name: Open MPI and braid take them for different machines, and messages go by TCP.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import time

AGENT = """#!/bin/sh
# mpirun calls this with a host's address and the command that starts its daemon there.
host=$1; shift
exec ip netns exec {name}-${{host##*.}} unshare --uts sh -c 'hostname '{name}-${{host##*.}}'; exec sh -c "$0"' "$*"
"""


def missing():
    """Why there can be no namespaces here; empty when there can."""
    if os.geteuid() != 0:
        return "needs root"
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("hostname", "hostname")):
        if shutil.which(program) is None:
            return f"needs {program} (package {package})"
    name = f"bt{secrets.token_hex(3)}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode != 0:
        return "network namespaces cannot be made here"
    subprocess.run(["ip", "netns", "delete", name], check=True)
    return ""


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)


class Hosts:
    """`count` hosts with the addresses 10.77.0.1, 10.77.0.2, …; the first is where mpirun runs."""

    def __init__(self, folder, count):
        self.name = f"b{secrets.token_hex(3)}"  # two tests at once must not meet; interface names have 15 characters
        self.numbers = range(1, count + 1)
        self.agent = pathlib.Path(folder) / "agent.sh"
        self.agent.write_text(AGENT.format(name=self.name))
        self.agent.chmod(0o755)

    def host(self, number):
        return f"{self.name}-{number}"

    @property
    def switch(self):
        return f"{self.name}-s"

    def build(self):
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self.switch, "link", "set", "bridge", "up")
        for number in self.numbers:
            host, port = self.host(number), f"port{number}"
            ip("netns", "add", host)
            ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", "cable", "netns", host)
            ip("-n", self.switch, "link", "set", port, "master", "bridge", "up")
            ip("-n", host, "addr", "add", f"10.77.0.{number}/24", "dev", "cable")
            ip("-n", host, "link", "set", "cable", "up")
            ip("-n", host, "link", "set", "lo", "up")

    def cut(self, number):
        ip("-n", self.switch, "link", "set", f"port{number}", "down")

    def mend(self, number):
        ip("-n", self.switch, "link", "set", f"port{number}", "up")

    def mpirun(self, ranks_each):
        """The beginning of a command that starts so many ranks on each host."""
        hosts = ",".join(f"10.77.0.{number}:{ranks_each}" for number in self.numbers)
        return ["ip", "netns", "exec", self.host(1), "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', self.host(1),
                "mpirun", "-q", "--tag-output", "--bind-to", "none", "--oversubscribe", "--allow-run-as-root",
                "--host", hosts, "-n", str(ranks_each * len(self.numbers)),
                "--mca", "plm", "rsh", "--mca", "plm_rsh_agent", str(self.agent),
                "--mca", "oob_tcp_if_include", "10.77.0.0/24", "--mca", "btl_tcp_if_include", "10.77.0.0/24",
                "--mca", "btl", "tcp,self", "--mca", "pml", "ob1"]  # fmt: skip

    def processes(self, number):
        """Ids of what runs on a host."""
        found = subprocess.run(["ip", "netns", "pids", self.host(number)], capture_output=True, text=True)
        return [int(word) for word in found.stdout.split()]

    def programs(self, number, name):
        """Ids of what runs on a host under a program's name."""
        found = []
        for pid in self.processes(number):
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    found.append(pid)
        return found

    def remove(self):
        for number in self.numbers:
            end = time.monotonic() + 10
            while (left := self.processes(number)) and time.monotonic() < end:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
        for name in [self.switch, *map(self.host, self.numbers)]:  # with them go their interfaces
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@contextlib.contextmanager
def hosts(folder, count):
    made = Hosts(folder, count)
    try:
        made.build()
        yield made
    finally:
        made.remove()
