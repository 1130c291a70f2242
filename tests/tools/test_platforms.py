# SPDX-License-Identifier: Apache-2.0
"""braid-report platforms: every cell is a published number, a run's own, or a dash."""

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(pathlib.Path(__file__).parent))

from run_builder import rows, write_run  # noqa: E402


def platforms(*arguments):
    command = [sys.executable, ROOT / "tools" / "braid-report", "platforms", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_cells_are_published_numbers_and_last_losses(tmp_path):
    cpu, gpu = tmp_path / "cpu", tmp_path / "gpu"
    write_run(cpu / "demo", 24, table=rows(20))
    write_run(gpu / "demo_uncorrected", 24, table=rows(8), state="running")
    write_run(gpu / "sweep_200/48l_hc_s0", 48, "hc", table=rows(20, nan_from=2), state="diverged")
    write_run(cpu / "sweep_800_uncorrected/24l_baseline_s0", 24, "baseline", table=rows(20, level=2.0))
    done = platforms("--cpu", cpu, "--gpu", gpu)
    assert done.returncode == 0, done.stderr
    table = {cells[1]: cells[2:-1] for line in done.stdout.splitlines() if (cells := [c.strip() for c in line.split("|")])}
    demo, late = rows(20)["loss"][-1], rows(20, level=2.0)["loss"][-1]
    began = f"{rows(8)['loss'][-1]:.4f} (running, step 8)"
    assert table["demo, 24 layers, mHC, 50 steps"] == ["0.118", "–", f"{demo:.4f}", "–", "–", began]
    assert table["sweep, 200 steps: 48l hc"] == ["NaN", "–", "–", "NaN (from step 2)", "–", "–"]
    assert table["sweep, 800 steps: 24l baseline"] == ["–", "1.86", "–", "–", f"{late:.4f}", "–"]
    assert len(table) == 2 + 2 + 18


def test_nothing_to_read_is_refused(tmp_path):
    assert platforms().returncode == 2
    done = platforms("--cpu", tmp_path / "none")
    assert done.returncode == 2 and "no such folder" in done.stderr
