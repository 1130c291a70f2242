# SPDX-License-Identifier: Apache-2.0
"""braid-report depth on a made-up study: its table, plots, and an answer that follows the numbers."""

import math
import pathlib
import re
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

from braid_report import depth_answer, depth_study, folders, runs  # noqa: E402
from run_builder import rows, write_layers, write_run  # noqa: E402

FORMS = {"residual": ("baseline", ""), "mHC, poc": ("mhc", 'connection_form = "poc"\n'), "mHC": ("mhc", 'connection_form = "paper"\n'),
         "mHC, permutations": ("mhc", 'connection_form = "paper"\nmanifold = "permutations"\n')}  # fmt: skip
LOSS = {"residual": 1.0, "mHC, poc": 1.5, "mHC": 0.5, "mHC, permutations": 1.002}  # of the task copy, in the mean


def write_one(root, depth, form, seed, loss, task="copy", bad=None, gain=1.0):
    variant, more = FORMS[form]
    table = rows(20, bad)
    table["amax_gain_forward"] = table["amax_gain_backward"] = gain
    folder = root / f"{depth}l_{form.replace(', ', '_')}_{task}_s{seed}"
    more = f'vocabulary = 32\nwidth = 16\n{more}[data]\nkind = "{task}"\n[optim]\nlearning_rate = 0.01\n'
    evaluation = [(0, 3.5), (20, math.nan if bad is not None else loss)]
    write_run(folder, depth, variant, seed, table, "done" if bad is None else "diverged", evaluation=evaluation, more=more)
    write_layers(folder, "residual_rms", 2, depth + 1, np.geomspace(1, 2.0**depth, depth + 1) * np.ones((2, 1)), "depth")
    if variant != "baseline":
        write_layers(folder, "amax_gain_forward", 2, depth, np.full((2, depth), gain))
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """12 and 192 layers, three seeds: the poc form breaks at 192, at step 3 and later; nothing learns modular sums."""
    root = tmp_path_factory.mktemp("study")
    for depth in (12, 192):
        for form, level in LOSS.items():
            for seed in range(3):
                bad = 3 + seed if (depth, form) == (192, "mHC, poc") else None
                write_one(root, depth, form, seed, level + 0.01 * seed, bad=bad, gain=1.25 if form == "mHC" else 1.0)
        write_one(root, depth, "residual", 0, math.log(7), task="modular_sum")
        write_one(root, depth, "mHC", 0, 1.9, task="modular_sum")
    done = subprocess.run([sys.executable, REPORT, "depth", root, "--out", root / "report"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return root, done.stdout


def cells(page, name, heading):
    part = page.split(heading)[1]
    return re.findall(r"<td>(.*?)</td>", re.search(rf"<tr><td>{re.escape(name)}</td>.*?</tr>", part, re.S).group(0))


def test_the_table_has_mean_and_spread_by_depth_and_form(study):
    page = (study[0] / "report/depth.html").read_text()
    assert cells(page, "residual", "<h3>copy, fp32</h3>") == ["residual", "1.010 ± 0.010", "1.010 ± 0.010"]
    assert cells(page, "mHC, poc", "<h3>copy, fp32</h3>") == ["mHC, poc", "1.510 ± 0.010", "NaN"]
    assert cells(page, "mHC", "<h3>modular sum, fp32</h3>") == ["mHC", "1.900", "1.900"]
    assert re.findall(r"<tr><td>(.*?)</td>", page.split("<h3>copy, fp32</h3>")[1].split("</table>")[0]) == list(FORMS)
    assert "https:" not in page and page.count("data:image/png;base64,") == 4


def test_stress_rows_say_share_of_bad_steps_the_first_and_the_largest_gain(study):
    page = (study[0] / "report/depth.html").read_text()
    row = cells(page, "mHC, poc", "<h2>Stress")
    share = 100 * np.mean([17, 16, 15]) / 20
    assert row[:5] == ["mHC, poc", "192", "3", f"{share:.1f} %", "3"]
    assert cells(page, "mHC", "<h2>Stress")[2:7] == ["4", "0.0 %", "–", "1.25", "1.25"]


def test_the_answer_follows_from_the_numbers(study):
    said = study[1]
    assert "mHC, poc: finite up to 12 layers; at 192 layers 3 of 3 runs had numbers that were not finite" in said
    assert "better than the plain residual's in 0, worse in 2 and not to be told apart in 0 of 2 settings" in said
    assert "mHC: all 8 finished runs stayed finite, the deepest of 192 layers" in said
    assert "better than the plain residual's in 2, worse in 0 and not to be told apart in 0 of 2 settings" in said
    assert "better than the plain residual's in 0, worse in 0 and not to be told apart in 2 of 2 settings" in said  # permutations
    assert "largest Amax gain forward 1.25, backward 1.25" in said
    assert "compare nothing: modular_sum at 12 layers, fp32; modular_sum at 192 layers, fp32." in said


def test_other_numbers_give_another_answer(tmp_path):
    for seed in range(2):
        write_one(tmp_path, 96, "residual", seed, 0.5, bad=9 if seed else None)
        write_one(tmp_path, 96, "mHC", seed, 0.5 + seed)
    made = depth_study.Study(folders.runs_in([tmp_path]))
    sentences, limits = depth_answer.answer(made)
    assert sentences[0] == "residual: at 96 layers 1 of 2 runs had numbers that were not finite."
    assert "not judged" in sentences[1] and len(limits) == 1


def test_every_picture_shows_something(study):
    names = {path.stem for path in (study[0] / "report").glob("*.png")}
    assert names == {"depth_loss", "depth_gain", "depth_maps", "depth_residual"}
    for name in names:
        assert matplotlib.image.imread(study[0] / "report" / f"{name}.png")[..., :3].std() > 0.03, name


def test_ablations_are_forms_of_their_own_where_their_values_differ(tmp_path):
    for streams in (2, 8):
        more = f'connection_form = "paper"\nstreams = {streams}\nsinkhorn_iterations = 20\n'
        write_run(tmp_path / f"n{streams}", 12, "mhc", more=more)
    write_run(tmp_path / "plain", 12, "baseline", more="streams = 4\n")
    assert depth_study.Study(folders.runs_in([tmp_path])).forms == ["residual", "mHC, n = 2", "mHC, n = 8"]


def test_axes_of_layer_metrics_are_their_own(tmp_path):
    folder = write_one(tmp_path, 6, "mHC", 0, 1.0)
    layers = runs.read_run(folder).layers
    assert list(layers["residual_rms"].axis) == list(range(7)) and list(layers["amax_gain_forward"].axis) == list(range(6))


def test_a_folder_without_runs_is_refused(tmp_path):
    done = subprocess.run([sys.executable, REPORT, "depth", tmp_path, "--out", tmp_path / "r"], capture_output=True, text=True)
    assert done.returncode == 2 and "no run.h5 found" in done.stderr
