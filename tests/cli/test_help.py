# SPDX-License-Identifier: Apache-2.0
"""What braid tells its user: help texts, explanations of keys, and how far runs are."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
import tomllib

import h5py
import pytest
from cli_run import BRAID, DEMO, ENVIRONMENT, SMALL, braid, one_line, sets

COMMANDS = re.findall(r"^  ([a-z]+) {2,}\S", braid("--help").stdout.split("Examples:")[0], re.M)


def test_the_commands_are_listed():
    assert {"train", "sweep", "data", "config", "status", "doctor"} <= set(COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_usage_examples_and_exit_codes_within_100_columns(command):
    done = braid(*([command] if command else []), "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert re.search(r"^usage:", done.stdout, re.I | re.M) and "\nExamples:\n" in done.stdout and "\nExit codes: 0 " in done.stdout
    assert [line for line in done.stdout.splitlines() if len(line) > 100] == []


def explained(text):
    """key -> its lines."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    return {block[0].split(" = ")[0]: block for block in blocks if not block[0].startswith("[")}


def test_every_key_is_explained_with_default_type_and_meaning():
    keys = explained(braid("config", "--explain").stdout)
    written = tomllib.loads(braid("config", DEMO).stdout)
    assert set(keys) == {f"{table}.{key}" for table, entries in written.items() for key in entries}
    for name, (_, facts, *meaning) in keys.items():
        assert re.match(r"    default .+; .+", facts), name
        assert len(" ".join(meaning).split()) >= 3, name
    assert keys["train.batch"][1] == "    default 32; integer >= 1; unit: samples"
    assert keys["model.residual"][1] == '    default "residual"; residual | hc | mhc'


def test_a_key_or_a_table_is_explained_alone():
    assert list(explained(braid("config", "--explain", "train.seed").stdout)) == ["train.seed"]
    keys = explained(braid("config", "--explain", "optim", "train.seed").stdout)
    assert {key.split(".")[0] for key in keys} == {"optim", "train"} and len(keys) > 5
    assert [key for key in keys if key.startswith("train")] == ["train.seed"]


def test_a_configuration_is_explained_with_its_values_beside_the_defaults():
    lines = explained(braid("config", "--explain", DEMO, "model.layers", "train.steps", "--set", "train.steps=7").stdout)
    assert lines["model.layers"][0] == "model.layers = 24" and "default 12" in lines["model.layers"][1]
    assert lines["train.steps"][0] == "train.steps = 7"


def test_an_unknown_key_names_the_nearest():
    assert "nearest known key: train.batch" in one_line(braid("config", "--explain", "train.bacth"), 2)
    assert "unknown key xyzzy" in one_line(braid("config", "--explain", "xyzzy"), 2)
    assert "no such configuration file" in one_line(braid("config", "--explain", "none.toml"), 2)


def on_terminal(columns, *arguments):
    """What braid prints on a terminal so wide."""
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen([BRAID, *arguments], stdout=terminal, env=ENVIRONMENT)
    os.close(terminal)
    text = b""
    try:
        while block := os.read(reader, 4096):
            text += block
    except OSError:  # the other end is closed
        pass
    os.close(reader)
    assert process.wait() == 0
    return text.decode().replace("\r\n", "\n")


def test_an_explanation_is_as_wide_as_the_terminal():
    narrow, wide = (on_terminal(columns, "config", "--explain") for columns in (50, 100))
    assert max(map(len, narrow.splitlines())) <= 50 < max(map(len, wide.splitlines())) <= 100
    assert narrow.split() == wide.split()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """runs/a done, runs/sweep/{2l,10l}… done, runs/killed, runs/bad and runs/empty, which hold no readable run."""
    root = tmp_path_factory.mktemp("status") / "runs"
    assert braid("train", DEMO, "--out", root / "a", *sets(SMALL)).returncode == 0
    grid = ["sweep.layers=[2,10]", "sweep.seeds=[0]"]
    assert braid("sweep", DEMO, "--out", root / "sweep", "--device", "cpu", *sets(SMALL + grid)).returncode == 0
    killed = [BRAID, "train", DEMO, "--out", root / "killed", *sets(SMALL), "--set", "train.steps=100000000"]
    process = subprocess.Popen(killed, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    wait_for_steps(root / "killed", 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for name in ("bad", "empty", "sweep/attempts/2l_mhc_s0-1"):
        (root / name).mkdir(parents=True)
    (root / "bad/run.h5").write_text("this is no HDF5 file")
    (root / "sweep/attempts/2l_mhc_s0-1/run.h5").write_bytes((root / "a/run.h5").read_bytes())
    return root


def wait_for_steps(folder, steps):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.3)
        done = braid("status", folder, "--json")
        if done.returncode == 0 and json.loads(done.stdout)[0]["steps_done"] >= steps:
            return
    raise AssertionError("the run made no steps")


def table(text):
    """folder -> {heading: cell} of an aligned table; cells are cut where the headings begin."""
    heading, *rows = text.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", heading)]
    names = heading.split()
    return {row.split()[0]: {name: row.split()[i] for i, name in enumerate(names[:4])} for row in rows if len(starts) == len(names)}


def test_status_lists_runs_and_the_runs_of_sweeps_in_order(runs):
    done = braid("status", runs / "sweep", runs / "a")
    assert done.returncode == 0 and done.stderr == ""
    rows = table(done.stdout)
    assert [folder.removeprefix(str(runs)) for folder in rows] == ["/sweep/2l_mhc_s0", "/sweep/10l_mhc_s0", "/a"]
    with h5py.File(runs / "a/run.h5", "r", locking=False, swmr=True) as f:
        loss = f["train"]["loss"][-1]
    assert rows[str(runs / "a")] == {"run": str(runs / "a"), "state": "done", "step": "3/3", "done": "100%"}
    assert f"{loss:.4f}" in done.stdout
    assert len({line.index("3/3") for line in done.stdout.splitlines()[1:]}) == 1  # columns are aligned


def test_status_names_the_best_checkpoint_of_a_run_that_keeps_it(runs, tmp_path):
    settings = sets([*SMALL, "train.steps=6", "train.eval_every=2", "train.eval_samples=4", "data.kind=copy", "checkpoint.keep=1"])
    for keeps in ("true", "false"):
        assert braid("train", DEMO, "--out", tmp_path / keeps, *settings, "--set", f"checkpoint.keep_best={keeps}").returncode == 0
    best, other, plain = json.loads(braid("status", tmp_path / "true", tmp_path / "false", runs / "a", "--json").stdout)
    assert other["best"] is None and plain["best"] is None
    with h5py.File(tmp_path / "true/run.h5", "r", locking=False, swmr=True) as f:
        losses = dict(zip(f["eval"]["step"].tolist(), f["eval"]["loss"].tolist(), strict=True))
    saved = {step: loss for step, loss in losses.items() if (tmp_path / f"true/checkpoints/step-{step:08}").is_dir()}
    lowest = min(saved, key=saved.get)
    assert saved[lowest] == min(loss for step, loss in losses.items() if step > 0)
    assert best["best"] == {"checkpoint": f"{tmp_path}/true/checkpoints/step-{lowest:08}", "step": lowest, "held_out_loss": saved[lowest]}
    shown = braid("status", tmp_path / "true", tmp_path / "false").stdout.splitlines()
    assert f"  step {lowest}: {saved[lowest]:.4f}  " in shown[1] and "  -  " in shown[2]


def test_status_calls_a_killed_run_lost_once_it_is_silent(runs):
    now = json.loads(braid("status", runs / "killed", "--json", "--lost-after", "3600").stdout)[0]
    assert now["state"] == "running" and now["steps_done"] >= 3 and now["exit_code"] is None
    time.sleep(0.6)
    later = json.loads(braid("status", runs / "killed", "--json", "--lost-after", "0.5").stdout)[0]
    assert later["state"] == "lost" and later["heartbeat_age_seconds"] > now["heartbeat_age_seconds"]
    assert "  lost  " in braid("status", runs / "killed", "--lost-after", "0.5").stdout
    assert json.loads(braid("status", runs / "a", "--json", "--lost-after", "0").stdout)[0]["state"] == "done"


def test_status_names_what_it_cannot_read_and_lists_the_others(runs):
    done = braid("status", runs, runs / "empty", runs / "none")
    assert done.returncode == 1
    assert set(table(done.stdout)) == {str(runs / name) for name in ("a", "killed", "sweep/2l_mhc_s0", "sweep/10l_mhc_s0")}
    lines = done.stderr.splitlines()
    assert len(lines) == 3 and all(line.startswith(f"braid: {runs}/") for line in lines)
    assert "bad/run.h5" in done.stderr and "empty: holds no run.h5" in done.stderr and "none: no such folder" in done.stderr


def test_status_as_json_has_numbers_and_errors(runs):
    done = braid("status", runs / "a", runs / "bad", "--json")
    a, bad = json.loads(done.stdout)
    assert done.returncode == 1 and set(bad) == {"run", "error"}
    assert (a["state"], a["steps_done"], a["planned_steps"], a["exit_code"], a["message"]) == ("done", 3, 3, 0, "")
    assert a["loss"] == pytest.approx(5.5, abs=0.5)


def test_status_refuses_a_silence_that_is_no_time():
    assert "--lost-after" in one_line(braid("status", ".", "--lost-after", "-1"), 2)
