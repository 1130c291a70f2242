# SPDX-License-Identifier: Apache-2.0
"""docs/reading-results.md, run: every Python and shell block works on a real run, and its tables tell what the file has."""

import re
import shutil
import signal
import subprocess
import sys
import time

import h5py
import pytest
from pages import ENVIRONMENT, ROOT, fenced, small_run

sys.path.append(str(ROOT / "tests/tools"))
import engram_builder  # noqa: E402

PAGE = (ROOT / "docs/reading-results.md").read_text()
BLOCKS = [(language, code) for language, code in fenced(PAGE) if language != "matlab"]
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [code for language, code in BLOCKS if language == "sh"]


def kill_after_rows(command, out):
    """Starts a run and kills it once its file has rows and it has a checkpoint."""
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.3)
        try:
            with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
                if len(f["train"]) > 3 and any((out / "checkpoints").glob("step-????????")):
                    break
        except (OSError, KeyError):
            continue
    process.send_signal(signal.SIGKILL)
    process.wait()


def write_evaluation(root):
    """root/runs/engram/engram.h5 of a short experiment elsewhere."""
    engram_builder.write_data(root / "data")
    engram_builder.write_model(root / "model")
    engram_builder.experiment(root, "ours", root / "experiment", "train.steps=2")
    (root / "runs/engram").mkdir(parents=True)
    shutil.copy(root / "experiment/engram.h5", root / "runs/engram")


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder for ended runs and one for killed ones, each with runs/a, runs/b and an evaluation of the Engram test."""
    ended, killed = tmp_path_factory.mktemp("ended"), tmp_path_factory.mktemp("killed")
    for name, residual in (("a", "mhc"), ("b", "residual")):
        out = ended / "runs" / name
        for steps in (3, 5):  # the second start goes on
            command = small_run(out, f"train.steps={steps}", f"model.residual={residual}")
            subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    kill_after_rows(small_run(killed / "runs/a", "train.steps=100000000", "checkpoint.every=50"), killed / "runs/a")
    shutil.copytree(ended / "runs/b", killed / "runs/b")
    write_evaluation(ended)
    shutil.copytree(ended / "runs/engram", killed / "runs/engram")
    return {"ended": ended, "killed": killed}


def run(place, *command):
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, env=ENVIRONMENT, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_python(place, code):
    return run(place, sys.executable, "-W", "error", "-c", code)


@pytest.mark.parametrize("how", ["ended", "killed"])
@pytest.mark.parametrize("code", PYTHON, ids=[f"block{i}" for i in range(len(PYTHON))])
def test_python_blocks_work_on_ended_and_killed_runs(places, code, how):
    assert run_python(places[how], code).strip() or "copy" in code


@pytest.mark.parametrize("line", [line for code in SHELL for line in code.splitlines() if line.strip()])
def test_shell_lines_work_on_an_ended_run(places, line):
    if not shutil.which(line.split()[0]):
        pytest.skip(f"{line.split()[0]} is not installed (package hdf5-tools)")
    assert "error" not in run(places["ended"], "bash", "-euo", "pipefail", "-c", line)


def test_there_are_blocks_and_a_broken_one_fails(places):
    assert len(PYTHON) >= 8 and len(SHELL) >= 1 and {language for language, _ in BLOCKS} == {"python", "sh"}
    for wrong in (PYTHON[0].replace('"train"', '"trian"'), PYTHON[0].replace("run.h5", "no.h5")):
        with pytest.raises(AssertionError):
            run_python(places["ended"], wrong)


def test_a_killed_file_is_refused_without_swmr_as_the_page_says(places):
    with pytest.raises(OSError, match="already open for write"):
        h5py.File(places["killed"] / "runs/a/run.h5", "r")


def test_the_copy_made_by_hand_opens_without_swmr(places, tmp_path):
    code = next(code for code in PYTHON if "copy.h5" in code)
    run_python(places["killed"], code)
    with h5py.File(places["killed"] / "copy.h5", "r") as copy:
        assert len(copy["train"]) > 3 and copy.attrs["format"] == b"braid-run"


def rows_of(part):
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) ?\|", part, re.M))


def documented_columns(table):
    """column -> unit, from the page's table below **`/name`**."""
    return rows_of(re.split(r"\n(?:\*\*`/|\| kind |## )", PAGE.split(f"**`/{table}`**")[1])[0])


TABLES = {"a/run.h5": ("train", "eval", "events", "status", "sessions", "ranks", "environment"),
          "engram/engram.h5": ("examples", "scores", "categories", "latency")}  # fmt: skip


@pytest.mark.parametrize("file, table", [(file, table) for file, tables in TABLES.items() for table in tables])
def test_the_page_lists_the_columns_and_units_of_the_file(places, file, table):
    with h5py.File(places["ended"] / "runs" / file, "r") as f:
        dataset = f[table]
        kinds = {name: dataset.dtype[name].kind for name in dataset.dtype.names}
        units = {name: "" if kinds[name] == "S" else dataset.attrs[f"unit:{name}"].decode() for name in kinds}
    assert list(documented_columns(table).items()) == list(units.items())


@pytest.mark.parametrize("file", TABLES)
def test_every_attribute_and_table_of_the_file_is_on_the_page(places, file):
    with h5py.File(places["ended"] / "runs" / file, "r") as f:
        missing = [name for name in f.attrs if f"`{name}`" not in PAGE]
        missing += [name for name in f if f"`/{name}`" not in PAGE]
    assert missing == []



def test_every_kind_of_event_is_on_the_page():
    sources = "".join(path.read_text() for folder in ("train", "experiments") for path in (ROOT / "src" / folder).glob("*.cpp"))
    kinds = set(re.findall(r'(?:event|alarm)\([^"]*, "(\w+)"', sources)) | set(re.findall(r'events\.emplace_back\("(\w+)"', sources))
    documented = set(rows_of(PAGE.split("\n| kind |")[1].split("\n\n")[0]))
    assert len(kinds) > 10 and documented == kinds


def test_what_a_manifest_holds_is_on_the_page(places):
    (newest,) = (places["ended"] / "runs/a/checkpoints").glob("step-00000005")
    with h5py.File(newest / "manifest.h5", "r") as f:
        missing = [name for name in f if f"`/{name}`" not in PAGE]
        missing += [name for name in [*f["state"].attrs, *f["state"]] if f"`{name}`" not in PAGE]
    assert missing == []
