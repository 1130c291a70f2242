# SPDX-License-Identifier: Apache-2.0
"""braid-report alone, installed with pip from tools/: no checkout and no Braid around it."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from run_builder import write_run  # noqa: E402


def run(*command, env=None):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, env=env)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(program, environment): from a copy of tools/, into an environment of its own. h5py and matplotlib are borrowed
    from this one, so that the test needs no network but for pip's build tools, if those are missing here."""
    root = tmp_path_factory.mktemp("install")
    shutil.copytree(ROOT / "tools", root / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    assert run(sys.executable, "-m", "venv", root / "env").returncode == 0
    python = root / "env" / "bin" / "python"
    env = {k: v for k, v in os.environ.items() if not k.startswith("BRAID")}
    env["PYTHONPATH"] = sysconfig.get_path("purelib")
    done = run(python, "-m", "pip", "install", "--no-deps", "--disable-pip-version-check", root / "tools", env=env)
    if done.returncode != 0:
        pytest.skip("pip cannot reach a package index for setuptools: " + done.stderr.strip().splitlines()[-1])
    shutil.rmtree(root / "tools")
    return root / "env" / "bin", env


def test_the_installed_program_makes_a_page_compares_and_copies(installed, tmp_path):
    programs, env = installed
    for seed in (0, 1):
        write_run(tmp_path / f"s{seed}", seed=seed)
    done = run(programs / "braid-report", "compare", tmp_path / "s0", tmp_path / "s1", env=env)
    assert done.returncode == 0 and "train.seed" in done.stdout, done.stderr
    assert run(programs / "braid-report", "page", tmp_path, "--out", tmp_path / "page", env=env).returncode == 0
    assert (tmp_path / "page/report.html").exists()
    assert run(programs / "braid-report", "clean", tmp_path / "s0", "--out", tmp_path / "a.h5", env=env).returncode == 0
    assert run(programs / "braid-report", "watch", tmp_path / "s0", "--once", env=env).returncode == 0


def test_it_also_runs_as_a_module(installed):
    programs, env = installed
    done = run(programs / "python", "-m", "braid_report", "--help", env=env)
    assert done.returncode == 0 and "compare" in done.stdout


def test_what_it_needs_is_declared():
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((ROOT / "tools/pyproject.toml").read_text())["project"]
    assert {"h5py", "matplotlib", "numpy"} == {word.split(">")[0] for word in project["dependencies"]}
