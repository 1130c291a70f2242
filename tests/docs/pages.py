# SPDX-License-Identifier: Apache-2.0
"""The project's Markdown pages: where they are, their links, and the code in them."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BRAID_BUILD", ROOT / "build"))
BRAID = BUILD / "braid"
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
SMALL = ["model.layers=2", "model.width=32", "model.mlp_width=48", "model.context=16", "train.batch=4"]


def pages():
    """All pages of the checkout, without what is built or installed in it."""
    found = list(ROOT.glob("*.md"))
    for folder in ("docs", "configs", "tools", "tests", "launch", "slurm", "src", "data"):
        found += (ROOT / folder).rglob("*.md")
    return sorted(found)


def fenced(text):
    """(language, code) of each fenced block."""
    return [(language.strip(), code) for language, code in re.findall(r"^```([^\n]*)\n(.*?)^```\s*$", text, re.M | re.S)]


def code_lines(text):
    """Lines a reader may type into a shell: indented by four, or in a fenced block that is no other language."""
    lines = []
    for language, code in fenced(text):
        if language in ("", "sh", "bash", "console"):
            lines += code.splitlines()
    outside = re.sub(r"^```[^\n]*\n.*?^```\s*$", "", text, flags=re.M | re.S)
    return lines + re.findall(r"^    (\S.*)$", outside, re.M)


def braid(*arguments, timeout=120):
    return subprocess.run([BRAID, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout)


def small_run(out, *assignments):
    """The arguments of a tiny `braid train`."""
    command = [str(BRAID), "train", str(ROOT / "configs/mhc/demo_mhc.toml"), "--out", str(out), "--device", "cpu"]
    for assignment in SMALL + list(assignments):
        command += ["--set", assignment]
    return command
