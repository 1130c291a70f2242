# SPDX-License-Identifier: Apache-2.0
"""braid-report on finished, NaN, crashed, missing, unreadable and single runs."""

import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import h5py
import matplotlib.image
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path.insert(0, str(ROOT / "tools"))

TRAIN = np.dtype([("step", "i8"), ("loss", "f8"), ("grad_norm", "f8"), ("nonfinite", "u1"), ("nonfinite_total", "i8"),
                  ("tokens_per_second", "f8"), ("gain_proxy_log10_max_entry", "f8"), ("amax_gain_forward", "f8")])  # fmt: skip
STATUS = np.dtype([("state", "S16"), ("last_step", "i8"), ("planned_steps", "i8"), ("heartbeat", "f8"), ("exit_code", "i8"), ("message", "S512")])


def rows(steps, nan_from=None, level=1.0):
    table = np.zeros(steps, TRAIN)
    table["step"] = np.arange(steps)
    table["loss"] = level * 5 * np.exp(-table["step"] / 5) + 0.1
    table["grad_norm"] = table["loss"] / 3
    table["tokens_per_second"] = 1000 + table["step"]
    table["gain_proxy_log10_max_entry"] = level
    table["amax_gain_forward"] = 10**level
    if nan_from is not None:
        bad = table["step"] >= nan_from
        for name in ("loss", "grad_norm", "gain_proxy_log10_max_entry", "amax_gain_forward"):
            table[name][bad] = np.nan
        table["nonfinite"] = bad
        table["nonfinite_total"] = np.cumsum(bad)
    return table


def config_of(depth, residual, seed):
    return f'[model]\nlayers = {depth}\nresidual = "{residual}"\n[train]\nseed = {seed}\nsteps = 20\n'


def write_run(folder, depth=12, variant="mhc", seed=0, table=None, state="done", message="", heartbeat=None):
    folder.mkdir(parents=True)
    residual = "residual" if variant == "baseline" else variant
    with h5py.File(folder / "run.h5", "w", libver="latest") as f:
        for name, value in {"format": "braid-run", "config": config_of(depth, residual, seed), "git_commit": "0123456789abcdef", "device": "cpu"}.items():
            f.attrs[name] = np.bytes_(value)
        f.attrs["world_size"] = 2
        table = rows(20) if table is None else table
        f.create_dataset("train", data=table, maxshape=(None,), chunks=(256,))
        last = int(table["step"][-1]) if len(table) else -1
        beat = time.time() if heartbeat is None else heartbeat
        f["status"] = np.array([(state.encode(), last, 20, beat, 0, message.encode())], STATUS)


def report(*arguments):
    return subprocess.run([sys.executable, REPORT, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def page_of(out):
    return (out / "report.html").read_text()


def row_of(page, name):
    """The cells of a run's row, and the row's class."""
    match = re.search(r'<tr class="(\w*)"><td>' + re.escape(name) + r"</td>(.*?)</tr>", page, re.S)
    return match.group(1), re.findall(r"<td[^>]*>(.*?)</td>", match.group(2))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    expected = []
    for depth in (12, 24, 48):
        for variant in ("baseline", "hc", "mhc"):
            name = f"{depth}l_{variant}_s0"
            expected.append({"name": name, "depth": depth, "variant": variant, "seed": 0, "state": "done", "attempts": 1, "message": ""})
            if (depth, variant) == (24, "mhc"):
                continue  # missing
            nan_from = 0 if (depth, variant) == (48, "hc") else 7 if (depth, variant) == (24, "hc") else None
            write_run(root / name, depth, variant, table=rows(20, nan_from, level={"baseline": 1.0, "hc": 1.4, "mhc": 0.8}[variant]),
                      state="diverged" if nan_from is not None else "done")  # fmt: skip
    (root / "sweep.json").write_text(json.dumps({"runs": expected}))
    (root / "attempts" / "12l_hc_s0-1").mkdir(parents=True)
    write_run(root / "attempts" / "old", 12, "hc")
    done = report(root, "--out", root / "report")
    assert done.returncode == 0, done.stderr
    return root


def test_every_picture_is_there_and_shows_something(sweep):
    names = {"loss", "grad_norm", "gain", "amax_gain", "nonfinite", "gain_by_depth", "head_to_head", "throughput"}
    assert {p.stem for p in (sweep / "report").glob("*.png")} == names
    for path in (sweep / "report").glob("*.png"):
        pixels = matplotlib.image.imread(path)[..., :3]
        assert pixels.std() > 0.05, path


def test_the_page_needs_nothing_else(sweep):
    page = page_of(sweep / "report")
    assert page.count("data:image/png;base64,") == 8
    assert not re.search(r'(src|href)="(?!data:)', page) and "<script" not in page
    assert page.count("<details>") == 8


def test_nan_runs_keep_their_place_and_missing_ones_are_marked_otherwise(sweep):
    page = page_of(sweep / "report")
    assert page.count("<tr class=") == 9  # earlier attempts are no runs of their own
    kind, cells = row_of(page, "48l_hc_s0")
    assert kind == "bad" and "NaN from step 0" in cells[-1] and cells[4] == "NaN"
    assert "NaN from step 7" in row_of(page, "24l_hc_s0")[1][-1]
    kind, cells = row_of(page, "24l_mhc_s0")
    assert kind == "missing" and cells[-1] == "missing" and "NaN" not in cells
    assert row_of(page, "12l_mhc_s0")[0] == ""


def test_losses_in_the_table_are_those_of_the_files(sweep):
    for name in ("12l_baseline_s0", "48l_mhc_s0"):
        cells = row_of(page_of(sweep / "report"), name)[1]
        with h5py.File(sweep / name / "run.h5") as f:
            loss = f["train"]["loss"]
            rate = np.median(f["train"]["tokens_per_second"][2:])
        assert cells[4] == f"{loss[-10:].mean():,.4f}" and cells[5] == f"{loss[-1]:,.4f}"
        assert cells[8] == f"{rate:,.0f}"


def test_variants_tell_apart_in_greyscale():
    from braid_report.plots import ORDER, style

    looks = [style(v) for v in [*ORDER, "other"]]
    assert len({s["linestyle"] for s in looks}) == len(looks)
    assert len({s["marker"] for s in looks}) == len(looks)


def test_a_live_and_a_failed_run_say_so(tmp_path):
    write_run(tmp_path / "live", state="running", table=rows(8))
    write_run(tmp_path / "failed", variant="hc", state="failed", message="rank 1 on n2: out of memory")
    assert report(tmp_path, "--out", tmp_path / "report").returncode == 0
    page = page_of(tmp_path / "report")
    assert row_of(page, "live")[1][-1] == "running, step 8 of 20"
    assert row_of(page, "failed")[1][-1] == "failed: rank 1 on n2: out of memory"


WRITER = """
import sys, time, h5py
sys.path.insert(0, {here!r})
from test_report import STATUS, TRAIN, rows, config_of
import numpy as np
with h5py.File({path!r}, "w", libver="latest") as f:
    f.attrs["config"] = np.bytes_(config_of(12, "mhc", 0))
    train = f.create_dataset("train", shape=(0,), maxshape=(None,), chunks=(256,), dtype=TRAIN)
    f["status"] = np.array([(b"running", 5, 20, time.time() - 1000, -1, b"")], STATUS)
    f.swmr_mode = True
    train.resize((6,)); train[:] = rows(6); train.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


def test_a_run_whose_writer_was_killed_is_read_and_called_crashed(tmp_path):
    folder = tmp_path / "crashed"
    folder.mkdir()
    code = WRITER.format(here=str(pathlib.Path(__file__).parent), path=str(folder / "run.h5"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert report(folder, "--out", tmp_path / "report").returncode == 0
    assert row_of(page_of(tmp_path / "report"), "crashed")[1][-1] == "crashed after step 6 of 20"


def test_a_file_that_cannot_be_read_is_listed_with_the_reason(tmp_path):
    write_run(tmp_path / "good")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.h5").write_bytes(b"not HDF5" * 100)
    assert report(tmp_path, "--out", tmp_path / "report").returncode == 0
    kind, cells = row_of(page_of(tmp_path / "report"), "broken")
    assert kind == "missing" and cells[-1].startswith("unreadable: ")


def test_several_seeds_are_drawn_and_listed(tmp_path):
    for seed in range(3):
        write_run(tmp_path / f"s{seed}", seed=seed, table=rows(20, level=1 + seed / 10))
    assert report(tmp_path, "--out", tmp_path / "report").returncode == 0
    assert page_of(tmp_path / "report").count("<tr class=") == 3


@pytest.mark.parametrize("arguments, words", [(["/no/such/folder"], "no such folder"), (["."], "no run.h5 found")])
def test_nothing_to_report_is_one_line(tmp_path, arguments, words):
    done = subprocess.run([sys.executable, REPORT, *arguments, "--out", tmp_path / "r"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and words in done.stderr


def test_an_unwritable_output_is_one_line(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "file").write_text("")
    done = report(tmp_path / "run", "--out", tmp_path / "file" / "x")
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1
