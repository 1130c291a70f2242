# SPDX-License-Identifier: Apache-2.0
"""braid-report on finished, NaN, live, crashed, missing, unreadable and malformed runs."""

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
from matplotlib.colors import to_rgb

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(ROOT / "tools"), str(HERE)]

from braid_report import folders, panels, runs, style, summaries  # noqa: E402
from run_builder import STATUS, rows, write_run, write_starts  # noqa: E402


def report(*arguments):
    return subprocess.run([sys.executable, REPORT, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def page_of(out):
    return (out / "report.html").read_text()


def row_of(page, name):
    """A run's row: its class and heading → cell."""
    headings = re.findall(r"<th[^>]*>(.*?)</th>", page)
    match = re.search(r'<tr class="(\w*)"><td>' + re.escape(name) + r"</td>.*?</tr>", page, re.S)
    return match.group(1), dict(zip(headings, re.findall(r"<td[^>]*>(.*?)</td>", match.group(0))))


def made(path, *arguments):
    """The page made from a folder."""
    done = report(path, "--out", path / "report", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return page_of(path / "report")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """12, 24, 48 layers x three variants: HC NaN from step 7 at 24 and 0 at 48; mHC missing at 24."""
    root = tmp_path_factory.mktemp("sweep")
    expected = []
    for depth in (12, 24, 48):
        for variant in ("baseline", "hc", "mhc"):
            name = f"{depth}l_{variant}_s0"
            expected.append({"name": name, "depth": depth, "variant": variant, "seed": 0, "state": "done"})
            if (depth, variant) == (24, "mhc"):
                continue
            nan_from = {(48, "hc"): 0, (24, "hc"): 7}.get((depth, variant))
            table = rows(20, nan_from, level={"baseline": 1.0, "hc": 1.4, "mhc": 0.8}[variant])
            write_run(root / name, depth, variant, table=table, state="done" if nan_from is None else "diverged",
                      evaluation=[(0, 5.5), (20, 2.25 + depth)])  # fmt: skip
    (root / "sweep.json").write_text(json.dumps({"runs": expected}))
    write_run(root / "attempts" / "12l_hc_s0-1", 12, "hc")
    made(root)
    return root


def test_every_picture_is_there_and_shows_something(sweep):
    names = {"loss", "eval", "grad_norm", "gain", "amax_gain_forward", "amax_gain_backward", "nonfinite",
             "gain_by_depth", "head_to_head", "throughput"}  # fmt: skip
    assert {p.stem for p in (sweep / "report").glob("*.png")} == names
    for path in (sweep / "report").glob("*.png"):
        pixels = matplotlib.image.imread(path)[..., :3]
        assert pixels.std() > 0.05, path


def test_the_page_needs_nothing_else(sweep):
    page = page_of(sweep / "report")
    assert page.count("data:image/png;base64,") == 10
    assert not re.search(r"""(src|href)=(?!"data:)|url\(|@import|<script|<link""", page)
    assert "https:" not in page and "http:" not in page
    assert "prefers-color-scheme: dark" in page
    assert page.count("<details>") == 8 and "layers = 48" in page


def test_nan_runs_keep_their_place_and_missing_ones_are_marked_otherwise(sweep):
    page = page_of(sweep / "report")
    assert page.count("<tr class=") == 9  # earlier attempts are no runs of their own
    kind, cells = row_of(page, "48l_hc_s0")
    assert kind == "bad" and cells["state"] == "diverged; NaN from step 0"
    assert cells["loss, mean of last 10"] == cells["last loss"] == "NaN"
    cells = row_of(page, "24l_hc_s0")[1]
    assert "NaN from step 7" in cells["state"] and cells["last loss"] == "NaN"
    assert cells["loss, mean of last 10"] == f"{np.mean(rows(7, level=1.4)['loss']):.4f} (before NaN)"
    kind, cells = row_of(page, "24l_mhc_s0")
    assert kind == "missing" and cells["state"] == "missing" and "NaN" not in cells.values()
    assert (cells["layers"], cells["variant"], cells["seed"]) == ("24", "mhc", "0")
    assert row_of(page, "12l_mhc_s0")[0] == ""


def test_numbers_in_the_table_are_those_of_the_files(sweep):
    for name in ("12l_baseline_s0", "48l_mhc_s0"):
        cells = row_of(page_of(sweep / "report"), name)[1]
        with h5py.File(sweep / name / "run.h5") as f:
            loss, rate = f["train"]["loss"], f["train"]["tokens_per_second"]
            assert cells["loss, mean of last 10"] == f"{loss[-10:].mean():.4f}"
            assert cells["last loss"] == f"{loss[-1]:.4f}"
            assert cells["held-out loss"] == f"{f['eval']['loss'][-1]:.4f}"
            assert cells["tokens/s"] == f"{np.median(rate[2:]):,.0f}" != f"{np.median(rate):,.0f}"
        assert (cells["steps"], cells["ranks"], cells["mesh"]) == ("20 of 20", "2", "data=2")
        assert cells["commit"] == "0123456789+"  # the checkout had changes
    assert row_of(page_of(sweep / "report"), "12l_baseline_s0")[1]["gain (log10)"] == "–"
    assert row_of(page_of(sweep / "report"), "12l_hc_s0")[1]["gain (log10)"] == "1.400"


def test_every_plot_keeps_the_place_of_nan_and_missing_runs(sweep):
    found = folders.collect([sweep])
    titles = [axes.get_title() for axes in panels.panels(found, "loss", "", "").axes]
    assert titles == ["12 layers", "24 layers\nHC: NaN from step 7\nmHC: missing", "48 layers\nHC: NaN from step 0"]
    marks = [text.get_text() for text in summaries.gain_by_depth(found).axes[0].texts]
    assert {"HC: NaN", "mHC: missing"} <= set(marks) and marks.count("HC: NaN") == 2
    assert {f"{1.4:.2f}", f"{0.8:.2f}"} <= set(marks)
    bars = summaries.throughput(found).axes[0]
    assert [t.get_text() for t in bars.get_yticklabels()] == [r.name for r in found]
    assert "missing" in [text.get_text() for text in bars.texts]
    assert "NaN from step 0" in summaries.head_to_head(found).axes[0].get_title()


def test_only_the_gradient_norm_is_always_logarithmic(sweep):
    found = folders.collect([sweep])
    scales = {name: panels.panels(found, name, "", "", log=log).axes[0].get_yscale()
              for name, log in (("loss", None), ("grad_norm", True), ("amax_gain_forward", None))}  # fmt: skip
    assert scales == {"loss": "linear", "grad_norm": "log", "amax_gain_forward": "linear"}
    for run in found:
        if run.train is not None:
            run.train["loss"][:5] *= 1000
    assert panels.panels(found, "loss", "", "").axes[0].get_yscale() == "log"


def test_variants_tell_apart_in_greyscale(sweep):
    def luma(color):
        return np.dot(to_rgb(color), (0.299, 0.587, 0.114))

    figure = panels.panels(folders.collect([sweep]), "loss", "", "")
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 20]
    assert len(lines) == 3
    shades = sorted(luma(line.get_color()) for line in lines)
    assert min(np.diff([0.0, *shades, 1.0])) > 0.12
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == len({line.get_marker() for line in lines}) == 3
    assert len({str(style.style(v)["linestyle"]) for v in [*style.ORDER, "other"]}) == 4


def test_a_live_a_failed_and_a_stopped_run_say_so(tmp_path):
    write_run(tmp_path / "live", state="running", table=rows(8))
    write_run(tmp_path / "failed", variant="hc", state="failed", message="rank 1 on n2: <out> of memory")
    write_run(tmp_path / "stopped", variant="baseline", state="stopped", table=rows(5))
    page = made(tmp_path)
    assert row_of(page, "live")[1]["state"] == "running, step 8 of 20"
    assert row_of(page, "failed")[1]["state"] == "failed: rank 1 on n2: &lt;out&gt; of memory"
    assert row_of(page, "stopped")[1]["state"] == "stopped after step 5 of 20"


def test_a_preempted_run_says_where_it_went_on_and_who_computed_last(tmp_path):
    write_run(tmp_path / "a", state="preempted", table=rows(9), message="stopped on request after step 8")
    write_starts(tmp_path / "a", (0, 4, 1), (3, 2, 1), (6, 2, 2))
    write_run(tmp_path / "b")
    write_starts(tmp_path / "b", (0, 2, 1))
    page = made(tmp_path)
    assert row_of(page, "a")[1]["state"] == "preempted after step 9 of 20: stopped on request after step 8"
    assert "<dt>starts</dt><dd>3, at steps 0, 3, 6</dd>" in page and page.count("<dt>starts</dt>") == 1
    assert "Starts (3)" in page and "Starts (1)" not in page
    assert "<dt>ranks</dt><dd>2 on node2 (cpu)</dd>" in page and page.count("Ranks (2)") == 2


def test_steps_that_were_skipped_are_not_called_the_end(tmp_path):
    table = rows(20)
    table["loss"][4] = np.nan
    table["nonfinite"][[4, 9]] = 1
    write_run(tmp_path / "skips", table=table)
    kind, cells = row_of(made(tmp_path), "skips")
    assert kind == "" and cells["state"] == "done; 2 non-finite steps, the first at 4"


WRITER = """
import sys, time, h5py
sys.path.insert(0, {here!r})
from run_builder import TRAIN, rows, config_of, status_row
import numpy as np
with h5py.File({path!r}, "w", libver="latest") as f:
    f.attrs["config"] = np.bytes_(config_of(12, "mhc", 0))
    train = f.create_dataset("train", shape=(0,), maxshape=(None,), chunks=(256,), dtype=TRAIN)
    f["status"] = status_row("running", 5, age={age})
    f.swmr_mode = True
    train.resize((6,)); train[:] = rows(6); train.flush()
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    """Starts a process that holds a run file open in SWMR mode."""
    started = []

    def start(name, age):
        (tmp_path / name).mkdir()
        code = WRITER.format(here=str(HERE), path=str(tmp_path / name / "run.h5"), age=age)
        started.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "ready\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_run_is_read_while_it_is_written(tmp_path, writer):
    writer("live", age=0)
    cells = row_of(made(tmp_path), "live")[1]
    assert cells["state"] == "running, step 6 of 20" and cells["last loss"] == f"{rows(6)['loss'][-1]:.4f}"


def test_a_run_whose_writer_was_killed_is_read_and_called_crashed(tmp_path, writer):
    process = writer("crashed", age=1000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kind, cells = row_of(made(tmp_path), "crashed")
    assert kind == "bad" and cells["state"] == "crashed after step 6 of 20"
    assert cells["last loss"] == f"{rows(6)['loss'][-1]:.4f}"


def test_a_failure_only_the_sweep_knows_of_is_told(tmp_path):
    entry = {"name": "48l_mhc_s0", "depth": 48, "variant": "mhc", "seed": 0, "state": "failed", "message": "died twice"}
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": [entry]}))
    kind, cells = row_of(made(tmp_path), "48l_mhc_s0")
    assert kind == "bad" and cells["state"] == "failed: died twice"


def test_a_file_that_cannot_be_read_is_listed_with_the_reason(tmp_path):
    write_run(tmp_path / "good")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.h5").write_bytes(b"not HDF5" * 100)
    kind, cells = row_of(made(tmp_path), "broken")
    assert kind == "missing" and re.match("unreadable: .*signature", cells["state"])


def test_files_that_lack_what_a_report_needs_are_listed_too(tmp_path):
    contents = {"no_status": {}, "empty_status": {"status": np.zeros(0, STATUS)}, "numbers": {"train": np.zeros(3)},
                "no_steps": {"train": np.zeros(3, [("loss", "f8"), ("nonfinite", "u1")])}}  # fmt: skip
    for name, datasets in contents.items():
        (tmp_path / name).mkdir()
        with h5py.File(tmp_path / name / "run.h5", "w", libver="latest") as f:
            f.attrs["config"] = "model = 3\n[train]\nseed = 'x'\n"
            for key, value in datasets.items():
                f[key] = value
    page = made(tmp_path)
    assert {row_of(page, name)[1]["state"] for name in contents} == {"unknown"}


@pytest.mark.parametrize("text", ["[1, 2]", '{"runs": [{"depth": 1}, 3]}', "{", '{"runs": 7}'])
def test_a_malformed_sweep_list_does_not_hide_the_runs(tmp_path, text):
    write_run(tmp_path / "run")
    (tmp_path / "sweep.json").write_text(text)
    assert row_of(made(tmp_path), "run")[1]["state"] == "done"


def lines_of(folder):
    figure = panels.panels(folders.collect([folder]), "loss", "", "")
    axes = figure.axes[0]
    widths = [line.get_linewidth() for line in axes.get_lines() if len(line.get_xdata()) > 2]
    return axes, widths, [text.get_text() for text in axes.texts]


def test_seeds_are_thin_lines_and_a_mean_over_the_steps_all_have(tmp_path):
    for seed, steps in enumerate((20, 20, 12)):
        write_run(tmp_path / f"s{seed}", seed=seed, table=rows(steps, level=1 + seed / 10))
    axes, widths, names = lines_of(tmp_path)
    assert widths == [0.7, 0.7, 0.7, 1.6] and names == []
    mean = axes.get_lines()[-1].get_ydata()
    assert np.allclose(mean, np.mean([rows(12, level=1 + s / 10)["loss"] for s in range(3)], axis=0))


def test_runs_that_differ_in_more_than_the_seed_are_named_and_not_averaged(tmp_path):
    write_run(tmp_path / "narrow", seed=0, more="width = 64\n")
    write_run(tmp_path / "wide", seed=1, more="width = 128\n")
    _, widths, names = lines_of(tmp_path)
    assert widths == [1.6, 1.6] and names == ["narrow", "wide"]


def test_a_depth_that_was_never_evaluated_has_no_empty_panel(tmp_path):
    write_run(tmp_path / "a", depth=6, evaluation=[(0, 5.0), (20, 2.0)])
    write_run(tmp_path / "b", depth=12)
    found = folders.collect([tmp_path])
    assert [axes.get_title() for axes in panels.panels(found, "loss", "", "", table="eval").axes] == ["6 layers"]
    assert len(panels.panels(found, "loss", "", "").axes) == 2


def test_runs_of_two_sweeps_keep_their_own_rows(tmp_path):
    for sweep_name in ("a", "b"):
        write_run(tmp_path / sweep_name / "12l_mhc_s0")
    missing = {"name": "12l_hc_s0", "depth": 12, "variant": "hc", "seed": 0, "state": "waiting", "message": ""}
    (tmp_path / "b" / "sweep.json").write_text(json.dumps({"runs": [missing]}))
    names = sorted(run.name for run in folders.collect([tmp_path, tmp_path / "a" / "12l_mhc_s0"]))
    assert names == ["12l_hc_s0", "a/12l_mhc_s0", "b/12l_mhc_s0"]


def test_a_single_run_is_reported_from_its_folder_or_its_file(tmp_path):
    write_run(tmp_path / "run")
    for path in (tmp_path / "run", tmp_path / "run" / "run.h5"):
        assert report(path, "--out", tmp_path / "r", "--title", "One & only").returncode == 0
        page = page_of(tmp_path / "r")
        assert page.count("<tr class=") == 1 and "<h1>One &amp; only</h1>" in page


def test_a_heartbeat_from_long_ago_is_a_crash():
    run = runs.Run("x")
    runs.read_status(run, {"status": np.array([(b"running", 3, 20, time.time() - 59, -1, b"")], STATUS)})
    assert run.state == "running"
    runs.read_status(run, {"status": np.array([(b"running", 3, 20, time.time() - 61, -1, b"")], STATUS)})
    assert run.state == "silent"


WRONG = [
    (["/no/such/folder", "--out", "r"], "no such folder"),
    ([".", "--out", "r"], "no run.h5 found"),
    (["note.txt", "--out", "r"], "neither"),
    (["."], "--out"),
    (["run", "--out", "note.txt"], "cannot be written"),
    (["run", "--out", "note.txt/x"], "cannot be written"),
]


@pytest.mark.parametrize("arguments, words", WRONG)
def test_wrong_use_is_one_line(tmp_path, arguments, words):
    (tmp_path / "note.txt").write_text("")
    if "run" in arguments:
        write_run(tmp_path / "run")
    done = subprocess.run([sys.executable, REPORT, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and words in done.stderr
