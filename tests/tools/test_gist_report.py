# SPDX-License-Identifier: Apache-2.0
"""braid-report gist on evaluations that braid made, and on a file that is none."""

import pathlib
import subprocess
import sys

import h5py
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

import engram_builder  # noqa: E402
from braid_report import gist_plots, gist_results  # noqa: E402

SMALL = ["model.width=32", "model.layers=3", "model.mlp_width=48", "model.context=64", "gist.eval_length=40", "gist.eval_answers=2",
         'gist.phases=["segments=16 tokens=64 steps=4"]', "train.eval_every=0", "checkpoint.every=2",
         'eval.at_end=["lengths=40,80 limit=3 depths=3 keys=2"]']  # fmt: skip


def report(*arguments, code=0):
    done = subprocess.run([sys.executable, REPORT, "gist", *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env=engram_builder.ENVIRONMENT | {"COLUMNS": "400"})  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that evaluated itself at its end, an evaluation of its own, and one of every checkpoint."""
    out = tmp_path_factory.mktemp("gist") / "run"
    settings = [word for one in SMALL for word in ("--set", one)]
    engram_builder.braid("train", ROOT / "configs/gist/passkey_quick.toml", *settings, "--out", out, "--device", "cpu")
    engram_builder.braid("eval", out, "--limit", 4, "--probe", 2, "--output", out / "all.h5", "--device", "cpu")
    engram_builder.braid("eval", out, "--every-checkpoint", "--limit", 3, "--output", out / "steps.h5", "--device", "cpu")
    return out


def test_training_evaluates_itself_at_its_end(run):
    with h5py.File(run / "eval_1.h5") as f:
        rows = [(row["suite"], row["system"], row["length"], row["of"]) for row in f["scores"][:]]
        assert f.attrs["run"].decode().endswith("step-00000004")
    assert (b"multikey-2", b"full", 80, 3) in rows and len(rows) == 2 * (12 + 3)


def test_the_page_has_maps_systems_steps_and_targets(run, tmp_path):
    said = report(run / "eval_1.h5", run / "all.h5", run / "steps.h5", "--out", tmp_path).stdout
    page = (tmp_path / "report.html").read_text()
    for name in ("eval_1_map_multikey-2", "eval_1_systems", "all_map_passkey", "all_map_vt-4", "steps_steps"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    for word in ("accuracy", "compression", "peak memory", "throughput", "hallucination", "global context"):
        assert f"<td>{word}</td>" in page and word in said
    assert "NOT REACHABLE" in page  # four answers cannot show 90 %


def test_cells_count_every_answer(run):
    each = gist_results.read_evaluation(run / "eval_1.h5")
    answers = [row for row in each.answers if row["system"] == "gist"]
    bins, depths, right, of = gist_plots.cells_of(answers)
    assert bins == [(40, 40), (80, 80)] and depths == [0, 0.5, 1] and (of == 3).all() and len(answers) == 2 * 4 * 3
    assert right.sum() == sum(row["right"] for row in answers if np.isfinite(row["depth"]))
    anywhere = [row for row in answers if np.isnan(row["depth"])]
    assert gist_plots.cells_of(anywhere)[3].shape == (2, 11) and gist_plots.cells_of(anywhere)[3].sum() == 6


def test_every_checkpoint_has_its_rows(run):
    each = gist_results.read_evaluation(run / "steps.h5")
    ((suite, length), rows), = each.by_step().items()
    assert suite == "passkey" and length == 40 and [row["step"] for row in rows] == [2, 4]


def test_lengths_that_are_many_share_rows():
    answers = [{"tokens": n, "at": 0.5, "depth": np.nan, "right": 1} for n in range(1000, 1100)]
    bins, _, right, of = gist_plots.cells_of(answers)
    assert len(bins) == gist_plots.LENGTHS and of.sum() == 100 and np.array_equal(right, of)


def test_a_file_that_is_none_is_told(run, tmp_path):
    assert "braid-gist" in report(run / "run.h5", code=1).stdout
    assert "no such file" in report(tmp_path / "nothing.h5", code=2).stderr
