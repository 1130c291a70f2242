# SPDX-License-Identifier: Apache-2.0
"""braid-report export: CSV and JSON lines, read again with pandas and a strict JSON reader."""

import io
import json
import pathlib
import subprocess
import sys

import h5py
import numpy as np
import pandas
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

from run_builder import rows, write_layers, write_run, write_starts  # noqa: E402

FIELDS = ["step", "loss", "grad_norm", "nan_or_inf", "nan_or_inf_total", "gain_proxy_log10_max_entry", "elapsed_sec"]


def export(*arguments, code=0):
    done = subprocess.run([sys.executable, REPORT, "export", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def strict(text):
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.fixture
def run(tmp_path):
    table = rows(12, nan_from=7)
    wider = np.zeros(12, table.dtype.descr + [("elapsed_seconds", "f8")])
    for name in table.dtype.names:
        wider[name] = table[name]
    wider["elapsed_seconds"] = 0.1 * np.arange(12)
    wider["grad_norm"][3] = np.inf
    write_run(tmp_path / "a", table=wider, evaluation=[(0, 5.0), (12, 2.0)])
    return tmp_path / "a", wider


def test_json_lines_have_the_seven_fields_in_order_with_null_for_what_is_not_finite(run):
    folder, table = run
    lines = strict(export(folder, "--format", "jsonl").stdout)
    assert [list(line) for line in lines] == [FIELDS] * 12
    assert [line["loss"] for line in lines] == [*table["loss"][:7].tolist(), *[None] * 5]  # to the bit
    assert lines[3]["grad_norm"] is None and lines[2]["grad_norm"] == table["grad_norm"][2]
    assert [line["nan_or_inf"] for line in lines] == [0] * 7 + [1] * 5 and isinstance(lines[0]["nan_or_inf"], int)
    assert lines[-1]["nan_or_inf_total"] == 5 and lines[4]["elapsed_sec"] == table["elapsed_seconds"][4]


def test_fields_that_a_file_lacks_are_null(tmp_path):
    write_run(tmp_path / "a")  # has no elapsed_seconds
    assert {line["elapsed_sec"] for line in strict(export(tmp_path / "a", "--format", "jsonl").stdout)} == {None}


def test_csv_comes_back_to_the_bit(run):
    folder, table = run
    frame = pandas.read_csv(io.StringIO(export(folder).stdout))
    assert list(frame.columns) == list(table.dtype.names)
    for name in table.dtype.names:
        np.testing.assert_array_equal(frame[name].to_numpy(), table[name], err_msg=name)


def test_another_table_and_text_cells(run):
    folder, _ = run
    assert list(pandas.read_csv(io.StringIO(export(folder, "--table", "eval").stdout))["loss"]) == [5.0, 2.0]
    assert pandas.read_csv(io.StringIO(export(folder, "--table", "status").stdout))["state"][0] == "done"
    assert "has no table 'trian'; there are: eval, status, train" in export(folder, "--table", "trian", code=1).stderr


def test_layers_come_as_rows_of_step_layer_and_value(tmp_path):
    write_run(tmp_path / "a")
    values = write_layers(tmp_path / "a", "gain_proxy_log10_max_entry", steps=5, layers=3)
    frame = pandas.read_csv(io.StringIO(export(tmp_path / "a", "--layers", "gain_proxy_log10_max_entry").stdout))
    assert list(frame.columns) == ["step", "layer", "value"] and len(frame) == 15
    np.testing.assert_array_equal(frame.pivot(index="step", columns="layer", values="value").to_numpy(), values)
    assert "there are: gain_proxy" in export(tmp_path / "a", "--layers", "amax", code=1).stderr


def test_several_runs_become_a_file_each(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / "runs" / f"s{seed}", seed=seed)
    assert "2 runs need --out with a folder" in export(tmp_path / "runs", code=2).stderr
    export(tmp_path / "runs", "--out", tmp_path / "out", "--format", "jsonl")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["s0.jsonl", "s1.jsonl"]
    assert len(strict((tmp_path / "out" / "s0.jsonl").read_text())) == 20


def test_what_is_wrong_is_one_line(run, tmp_path):
    assert export(tmp_path / "none", code=2).stderr.count("\n") == 1
    assert "jsonl has the training steps only" in export(run[0], "--format", "jsonl", "--table", "eval", code=2).stderr
    assert "invalid choice: 'xml'" in export(run[0], "--format", "xml", code=2).stderr


def test_a_live_file_is_exported(tmp_path):
    write_run(tmp_path / "a", state="running")
    with h5py.File(tmp_path / "a" / "run.h5", "r+", libver="latest") as f:
        f.swmr_mode = True
        assert len(strict(export(tmp_path / "a", "--format", "jsonl").stdout)) == 20


def test_starts_are_a_table_and_a_run_with_a_gap_keeps_its_step_numbers(tmp_path):
    write_run(tmp_path / "a", table=rows(12)[5:], state="preempted")
    write_starts(tmp_path / "a", (5, 2, 1), (9, 1, 2))
    sessions = pandas.read_csv(io.StringIO(export(tmp_path / "a", "--table", "sessions").stdout))
    assert list(sessions["first_step"]) == [5, 9] and list(sessions["world_size"]) == [2, 1]
    ranks = pandas.read_csv(io.StringIO(export(tmp_path / "a", "--table", "ranks").stdout))
    assert list(ranks["session"]) == [0, 0, 1]
    assert [line["step"] for line in strict(export(tmp_path / "a", "--format", "jsonl").stdout)] == list(range(5, 12))
