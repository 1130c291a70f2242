# SPDX-License-Identifier: Apache-2.0
"""A pretended machine for the launch scripts: a copy of launch/ in a temporary checkout, and programs on PATH that
answer as nvidia-smi, nproc, mpirun, apt-get… would and write down how they were called."""

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Machine:
    def __init__(self, folder: Path):
        self.checkout = folder / "checkout"
        self.programs = folder / "bin"
        self.probe = folder / "root"  # stands for / when the scripts look at the hardware
        self.calls_file = folder / "calls"
        for name in ("launch", "slurm"):
            shutil.copytree(ROOT / name, self.checkout / name, ignore=shutil.ignore_patterns("site.sh"))
        for path in (self.programs, self.probe):
            path.mkdir()
        self.environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "BRAID_PROBE_ROOT": str(self.probe),
            "CALLS": str(self.calls_file),
        }
        self.cores(4)
        self.user("root")
        self.program("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")

    def program(self, name: str, script: str, folder: Path | None = None) -> Path:
        path = (folder or self.programs) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def recorder(self, name: str, code: int = 0, folder: Path | None = None) -> Path:
        """A program that writes its environment and arguments down and exits with `code`."""
        script = (
            'echo "OMP=${OMP_NUM_THREADS-} WAIT=${OMP_WAIT_POLICY-} GPUS=${CUDA_VISIBLE_DEVICES-unset} '
            f'| {name} $*" >>"$CALLS"; exit {code}'
        )
        return self.program(name, script, folder)

    def cores(self, count: int, threads_per_core: int = 1) -> None:
        self.program("nproc", f"echo {count * threads_per_core}")
        lines = "\\n".join(f"{core},0" for core in range(count) for _ in range(threads_per_core))
        self.program("lscpu", f"printf '# comment\\n{lines}\\n'")

    def user(self, name: str) -> None:
        self.program("id", f"echo {0 if name == 'root' else 1000}")

    def gpus(self, *models: tuple[str, int, str]) -> None:
        """(name, MiB, capability) of each, as `nvidia-smi --query-gpu` prints them."""
        lines = [f"{i}, GPU-{i}aaa-bbb, {name}, {mib}, {cap}" for i, (name, mib, cap) in enumerate(models)]
        self.program("nvidia-smi", "cat <<'END'\n" + "\n".join(lines) + "\nEND")

    def driver(self, version: str) -> None:
        path = self.probe / "proc/driver/nvidia/version"
        path.parent.mkdir(parents=True)
        path.write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Mon Jan 27\nGCC version: 12.2.0\n")

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [self.checkout / "launch" / script, *arguments], env=self.environment | environment, cwd=self.checkout,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)

    def start(self, script: str, *arguments: str, **environment: str) -> subprocess.Popen:
        """Under way, in a process group of its own as a terminal's foreground is."""
        return subprocess.Popen(
            [self.checkout / "launch" / script, *arguments], env=self.environment | environment, cwd=self.checkout,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def wait_for_call(self, call: str) -> None:
        end = time.monotonic() + 20
        while call not in self.calls():
            assert time.monotonic() < end, (call, self.calls())
            time.sleep(0.02)

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def only_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]
