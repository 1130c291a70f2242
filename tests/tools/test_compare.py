# SPDX-License-Identifier: Apache-2.0
"""braid-report compare on seeds, NaN, equal, different, short, missing and unreadable runs."""

import json
import os
import pathlib
import subprocess
import sys

import h5py
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

from braid_report import comparison, table, terminal  # noqa: E402
from run_builder import rows, write_run, write_starts  # noqa: E402


def compare(*arguments, columns=100, code=0, **environment):
    done = subprocess.run([sys.executable, REPORT, "compare", *map(str, arguments)], capture_output=True, timeout=120,
                          encoding="utf-8", env={**os.environ, "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8",
                                                 **environment})  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code < 2 else done.stderr


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


def as_json(*arguments, code=0):
    return json.loads(compare(*arguments, "--json", "-", code=code), parse_constant=refuse)


def noisy(seed, steps=20, **more):
    table_ = rows(steps, **more)
    table_["loss"] += np.random.default_rng(seed).normal(0, 0.1, steps)
    return table_


def section(text, title):
    """The lines below a heading, up to the next empty one that is followed by a heading."""
    lines = text.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith(title)) + 1
    return lines[start:]


def write_seeds(root, seeds=(0, 1, 2), variant="mhc", **more):
    for seed in seeds:
        write_run(root / f"{variant}_s{seed}", variant=variant, seed=seed, table=noisy(seed), **more)


def change(folder, **attributes):
    with h5py.File(folder / "run.h5", "r+") as f:
        for name, value in attributes.items():
            f.attrs[name] = np.bytes_(value) if isinstance(value, str) else value


def test_mean_and_spread_over_seeds_are_numpys(tmp_path):
    write_seeds(tmp_path)
    write_seeds(tmp_path, seeds=(0, 1), variant="hc")
    found = as_json(tmp_path)
    assert [(group["name"], len(group["runs"])) for group in found["groups"]] == [("hc", 2), ("mhc", 3)]
    last = [noisy(seed)["loss"][-1] for seed in range(3)]
    loss = found["groups"][1]["metrics"]["loss"]
    assert loss["n"] == 3 and loss["mean"] == pytest.approx(np.mean(last), rel=1e-14)
    assert loss["std"] == pytest.approx(np.std(last, ddof=1), rel=1e-12)
    rate = found["runs"][0]["metrics"]["tokens_per_second"]
    assert rate == np.median(rows(20)["tokens_per_second"][2:]) != np.median(rows(20)["tokens_per_second"])
    text = compare(tmp_path)
    line = next(line for line in section(text, "Mean ±") if line.startswith("mhc"))
    assert line.split()[1:5] == ["3", f"{np.mean(last):.4f}", "±", f"{np.std(last, ddof=1):.4f}"]


def test_a_diverged_seed_is_counted_and_not_averaged(tmp_path):
    write_seeds(tmp_path, seeds=(0, 1))
    write_run(tmp_path / "mhc_s2", seed=2, table=rows(9, nan_from=4), state="diverged")
    loss = as_json(tmp_path)["groups"][0]["metrics"]["loss"]
    assert (loss["n"], loss["non_finite"]) == (2, 1)
    assert loss["mean"] == pytest.approx(np.mean([noisy(seed)["loss"][-1] for seed in (0, 1)]))
    assert "(n=2, 1 NaN)" in compare(tmp_path, columns=300)


def test_unfinished_and_repeated_seeds_do_not_blur_the_mean(tmp_path):
    write_seeds(tmp_path, seeds=(0, 1))
    write_run(tmp_path / "mhc_s2", seed=2, table=noisy(2, steps=5), state="stopped")
    write_run(tmp_path / "mhc_s0_again", seed=0, table=noisy(0))
    found = as_json(tmp_path)
    group, names = found["groups"][0], [run["name"] for run in found["runs"]]
    assert sorted(names[i] for i in group["runs"] + group["repeated"]) == ["mhc_s0", "mhc_s0_again", "mhc_s1"]
    assert [names[i] for i in group["unfinished"]] == ["mhc_s2"] and group["metrics"]["loss"]["n"] == 2
    text = compare(tmp_path)
    assert "not counted: mhc_s2 (it has fewer steps)" in text
    assert "(its seed is counted already)" in text


def test_a_lone_seed_has_no_spread(tmp_path):
    write_seeds(tmp_path, seeds=(0,))
    write_seeds(tmp_path, seeds=(0,), variant="hc")
    assert as_json(tmp_path)["groups"] == []
    assert "sample standard deviation" not in compare(tmp_path)


def test_equal_runs_are_said_to_be_equal(tmp_path):
    for name in "ab":
        write_run(tmp_path / name)
    text = compare(tmp_path / "a", tmp_path / "b")
    assert text.count("no difference") == 2
    assert "equal: same configuration, same losses, 20 steps" in text
    assert "All runs are equal" in text
    assert as_json(tmp_path)["partings"][0] == {"run": 1, "against": 0, "step": None, "common_steps": 20,
                                                "losses": None, "equal": True}  # fmt: skip


def test_losses_part_at_the_first_differing_bit(tmp_path):
    other = rows(20)
    other["loss"][7:] = np.nextafter(other["loss"][7:], np.inf)
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", table=other)
    parting = as_json(tmp_path / "a", tmp_path / "b")["partings"][0]
    assert parting["step"] == 7 and not parting["equal"]
    assert parting["losses"] == [rows(20)["loss"][7], other["loss"][7]]
    there, here = compare(tmp_path).split("step 7: ")[1].split(", ")
    assert there.split()[0] != here.split()[0]  # as many digits as it takes
    assert as_json(tmp_path, "--tolerance", 1e-12)["partings"][0]["step"] is None
    assert "All runs are equal" not in compare(tmp_path)


def test_tolerance_is_relative_to_the_larger_loss(tmp_path):
    other = rows(20)
    other["loss"] *= 1 + 1e-3 * np.arange(20) / 19
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", table=other)
    relative = 1 - rows(20)["loss"] / other["loss"]
    for tolerance in (0, 1e-4, 5e-4):
        step = as_json(tmp_path, "--tolerance", tolerance)["partings"][0]["step"]
        assert step == np.argmax(relative > tolerance)
    assert "never, over 20 common steps" in compare(tmp_path, "--tolerance", "0.01")


@pytest.mark.parametrize("nan_from, step", [((5, 5), None), ((5, 9), 5), ((None, 3), 3)])
def test_nan_parts_from_numbers_and_not_from_nan(tmp_path, nan_from, step):
    for name, start in zip("ab", nan_from):
        write_run(tmp_path / name, table=rows(20, nan_from=start), state="done" if start is None else "diverged")
    parting = as_json(tmp_path)["partings"][0]
    assert parting["step"] == step and parting["equal"] == (step is None)
    assert as_json(tmp_path, "--tolerance", 0.5)["partings"][0]["step"] == step
    assert ("NaN here" in compare(tmp_path)) == (step == 3) and " nan " not in compare(tmp_path)


def test_the_larger_loss_is_the_measure_of_the_tolerance():
    assert not comparison.part(1.0, 1.1, 0.095) and not comparison.part(-1.1, -1.0, 0.095)
    assert comparison.part(1.0, 1.1, 0.09)


def test_losses_that_are_infinite_or_zero_of_either_sign():
    inf, nan = float("inf"), float("nan")
    assert not comparison.part(inf, inf, 0) and comparison.part(inf, -inf, 0.9) and comparison.part(inf, 1.0, 0.9)
    assert comparison.part(nan, inf, 0.9)
    assert comparison.part(0.0, -0.0, 0) and not comparison.part(0.0, -0.0, 1e-9)


def test_a_run_that_ends_earlier_does_not_part(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", table=rows(12), state="stopped")
    assert "never, over 12 common steps (of 20 and 12)" in compare(tmp_path / "a", tmp_path / "b")
    parting = as_json(tmp_path / "a", tmp_path / "b")["partings"][0]
    assert (parting["step"], parting["common_steps"], parting["equal"]) == (None, 12, False)


def test_losses_are_held_against_the_first_named_run_and_its_twin_of_the_same_seed(tmp_path):
    write_seeds(tmp_path / "mhc", seeds=(0, 1))
    write_seeds(tmp_path / "hc", seeds=(0, 1, 2), variant="hc")
    found = as_json(tmp_path / "mhc", tmp_path / "hc")
    names = [run["name"] for run in found["runs"]]
    assert names == ["mhc_s0", "mhc_s1", "hc_s0", "hc_s1", "hc_s2"]  # the command line's order, not the alphabet's
    against = {names[p["run"]]: names[p["against"]] for p in found["partings"]}
    assert against == {"mhc_s1": "mhc_s0", "hc_s0": "mhc_s0", "hc_s1": "mhc_s1", "hc_s2": "mhc_s0"}
    steps = {names[p["run"]]: p["step"] for p in found["partings"]}
    assert steps == {"mhc_s1": 0, "hc_s0": None, "hc_s1": None, "hc_s2": 0}


def test_differing_configuration_is_shown_dotted_with_a_dash_where_absent(tmp_path):
    write_run(tmp_path / "a", variant="mhc", more="streams = 4\n")
    write_run(tmp_path / "b", variant="hc")
    lines = section(compare(tmp_path / "a", tmp_path / "b"), "Configuration")
    assert lines[0].split() == ["a", "b"]
    assert [line.split() for line in lines[1:3]] == [["model.residual", "mhc", "hc"], ["model.streams", "4", "–"]]
    found = as_json(tmp_path / "a", tmp_path / "b")
    assert found["differing_config"] == {"model.residual": ["mhc", "hc"], "model.streams": [4, None]}


def test_differing_records_are_shown(tmp_path):
    for name in "ab":
        write_run(tmp_path / name)
    change(tmp_path / "a", uncommitted_changes=0, run_id="1", data_digest="crc32c:1a2b3c4d")
    change(tmp_path / "b", uncommitted_changes=1, run_id="2", data_digest="crc32c:5e6f7a8b", world_size=4)
    text = compare(tmp_path)
    lines = {line.split()[0]: line.split()[1:] for line in section(text, "Records")[1:4]}
    assert lines == {"uncommitted_changes": ["no", "yes"], "world_size": ["2", "4"],
                     "data_digest": ["crc32c:1a2b3c4d", "crc32c:5e6f7a8b"]}  # fmt: skip
    assert "run_id" not in text
    assert as_json(tmp_path)["differing_records"]["world_size"] == [2, 4]


def test_differing_environment_of_rank_0_is_shown(tmp_path):
    kind = np.dtype([("rank", "i8"), ("name", "S64"), ("value", "S512")])
    for name, threads in (("a", b"1"), ("b", b"2")):
        write_run(tmp_path / name)
        with h5py.File(tmp_path / name / "run.h5", "r+") as f:
            names = [(0, b"OMP_NUM_THREADS", threads), (1, b"OMP_NUM_THREADS", name.encode())]
            f["environment"] = np.array(names, kind)
    assert as_json(tmp_path)["differing_records"] == {"environment.OMP_NUM_THREADS": ["1", "2"]}
    write_run(tmp_path / "older")  # has no such table
    assert as_json(tmp_path)["differing_records"] == {}


def test_the_environment_compared_is_that_of_the_last_start(tmp_path):
    for name, starts in (("a", [(0, 2, 1), (8, 1, 4)]), ("b", [(0, 1, 4)])):
        write_run(tmp_path / name)
        write_starts(tmp_path / name, *starts)
    assert as_json(tmp_path)["differing_records"] == {}
    assert "All runs are equal" in compare(tmp_path)


def test_a_preempted_run_that_began_elsewhere_is_held_against_the_steps_it_has(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", table=rows(15)[6:], state="preempted", message="stopped on request after step 14")
    found = as_json(tmp_path)
    assert [(run["state"], run["steps_done"]) for run in found["runs"]] == [("done", 20), ("preempted", 15)]
    assert found["partings"][0]["common_steps"] == 9 and found["partings"][0]["step"] is None
    assert "preempted" in section(compare(tmp_path), "Final values")[2]


@pytest.mark.parametrize("columns", (60, 80, 140))
def test_many_runs_stay_within_the_terminal_and_are_grouped_by_value(tmp_path, columns):
    for depth in (6, 12, 24):
        for variant in ("baseline", "hc", "mhc"):
            for seed in range(3):
                write_run(tmp_path / f"{depth}l_{variant}_s{seed}", depth, variant, seed, table=noisy(seed))
    text = compare(tmp_path, columns=columns)
    assert max(map(len, text.split("\n"))) <= columns
    joined = " ".join(text.split())
    assert "model.layers" in text and "6 (9 runs): 6l_baseline_s0, 6l_baseline_s1," in joined
    final = section(text, "Final values")
    assert sum(line.startswith("24l_mhc_s2 ") for line in final) >= 1
    assert len([line for line in section(text, "Mean ±") if line.startswith("24l_mhc ")]) >= 1


def test_columns_wrap_into_blocks_that_repeat_the_first_column():
    lines = table.render(["run", "aaaa", "bbbb", "cccc"], [["x", "1", "2", "3"]], terminal.Look(None), 12, left=(0,))
    assert lines == ["run  aaaa", "x       1", "", "run  bbbb", "x       2", "", "run  cccc", "x       3"]
    lines = table.render(["", "a"], [["k", "/some/long/path/of/data"]], terminal.Look(None), 15)
    assert "".join(line[3:].strip() for line in lines[1:]) == "/some/long/path/of/data"
    assert max(map(len, lines)) <= 15


def test_an_unreadable_run_leaves_the_others_comparable(tmp_path):
    for name in "ac":
        write_run(tmp_path / name)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run.h5").write_bytes(b"no HDF5 file" * 100)
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": [{"name": "d", "depth": 12, "variant": "hc", "seed": 0}]}))
    text = compare(tmp_path, code=1)
    assert "no common steps" in text
    assert section(text, "Configuration")[0] == "no difference"
    assert "b: unreadable: " in text and "d: missing" in text
    found = as_json(tmp_path, code=1)
    states = {run["name"]: run["state"] for run in found["runs"]}
    assert states == {"a": "done", "b": "unreadable", "c": "done", "d": "missing"}
    names = [run["name"] for run in found["runs"]]
    assert {names[p["run"]]: p["equal"] for p in found["partings"]} == {"b": False, "c": True, "d": False}


def test_an_unreadable_first_run_is_no_reference(tmp_path):
    for name in "bc":
        write_run(tmp_path / name)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.h5").write_bytes(b"")
    found = as_json(tmp_path / "a", tmp_path / "b", tmp_path / "c", code=1)
    assert [(p["run"], p["against"], p["equal"]) for p in found["partings"]] == [(0, 1, False), (2, 1, True)]


def test_json_is_strict_and_complete(tmp_path):
    write_run(tmp_path / "a", more="rope_theta = inf\nnorm_epsilon = nan\n", table=rows(20, nan_from=0))
    write_run(tmp_path / "b", more="rope_theta = 1e4\n", evaluation=[(0, 5.5), (20, 2.25)])
    text = compare(tmp_path, "--json", tmp_path / "out.json")
    assert "NaN" in text
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert found["runs"][0]["metrics"]["loss"] is None and found["runs"][1]["metrics"]["held_out_loss"] == 2.25
    assert found["differing_config"] == {"model.rope_theta": [None, 1e4], "model.norm_epsilon": [None, None]}
    assert found["partings"][0]["losses"] == [None, rows(1)["loss"][0]]


def test_the_same_nan_in_two_configurations_is_no_difference(tmp_path):
    for name in "ab":
        write_run(tmp_path / name, more="norm_epsilon = nan\n")
    assert section(compare(tmp_path), "Configuration")[0] == "no difference"


def test_an_accuracy_of_zero_is_shown_and_one_that_is_nan_is_not(tmp_path):
    kind = np.dtype([("step", "i8"), ("loss", "f8"), ("accuracy", "f8")])
    for folder, accuracy in (("zero", 0.0), ("nan", np.nan)):
        for name in "ab":
            write_run(tmp_path / folder / name)
            with h5py.File(tmp_path / folder / name / "run.h5", "r+") as f:
                f["eval"] = np.array([(20, 2.0, accuracy)], kind)
        assert ("held-out accuracy" in compare(tmp_path / folder, columns=200)) == (folder == "zero")


def test_peak_memory_and_step_seconds(tmp_path):
    kind = np.dtype(rows(1).dtype.descr + [("step_seconds", "f8"), ("peak_memory_bytes", "i8")])
    table_ = np.zeros(20, kind)
    for name in rows(1).dtype.names:
        table_[name] = rows(20)[name]
    table_["step_seconds"] = np.r_[9.0, 8.0, np.linspace(0.1, 0.2, 18)]
    table_["peak_memory_bytes"] = np.r_[3 * 2**20, 5 * 2**20, [4 * 2**20] * 18]
    for name in "ab":
        write_run(tmp_path / name, table=table_)
    metrics = as_json(tmp_path)["runs"][0]["metrics"]
    assert metrics["step_seconds"] == pytest.approx(0.15) and metrics["peak_memory_bytes"] == 5 * 2**20
    text = compare(tmp_path, columns=250)
    assert "150.00" in text and "5.0" in text and "peak memory (MiB)" in text


def test_a_reader_that_has_seen_enough_brings_no_words(tmp_path):
    for name in "ab":
        write_run(tmp_path / name)
    child = subprocess.Popen([sys.executable, REPORT, "compare", tmp_path], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)  # fmt: skip
    child.stdout.close()  # long before it has anything to say
    assert child.stderr.read() == b"" and child.wait(60) in (0, 1)
    child.stderr.close()


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path):
    for name in "ab":
        write_run(tmp_path / name, state="failed", message="\x1b[2Jbad\x07")
    change(tmp_path / "a", device="\x1b]0;title\x07")
    text = compare(tmp_path)
    assert "\x1b" not in text and "\x07" not in text and "?]0;title?" in text


def test_a_terminal_without_the_characters_gets_others(tmp_path):
    write_run(tmp_path / "a", more="streams = 4\n")
    write_run(tmp_path / "b")
    compare(tmp_path, PYTHONIOENCODING="ascii").encode("ascii")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo terminal")
@pytest.mark.parametrize("no_color", ("", "1"))
def test_colour_only_on_a_terminal_and_without_no_color(tmp_path, no_color):
    import pty

    for name in "ab":
        write_run(tmp_path / name)
    assert "\x1b" not in compare(tmp_path)
    ours, theirs = pty.openpty()
    done = subprocess.run([sys.executable, REPORT, "compare", tmp_path], stdout=theirs, timeout=60,
                          env={**os.environ, "NO_COLOR": no_color, "TERM": "xterm"})  # fmt: skip
    os.close(theirs)
    assert done.returncode == 0
    assert (b"\x1b[1m" in os.read(ours, 100000)) == (no_color == "")
    os.close(ours)


@pytest.mark.parametrize("arguments, words", [(["a"], "only one run"), (["nowhere"], "no such folder"),
                                              (["a", "b", "--tolerance", "-1"], "--tolerance"),
                                              (["a", "b", "--tolerance", "nan"], "--tolerance"),
                                              (["a", "b", "--json", "no/such/x"], "cannot be written")])  # fmt: skip
def test_wrong_use_is_one_line(tmp_path, arguments, words):
    for name in "ab":
        write_run(tmp_path / name)
    arguments = [tmp_path / a if a in ("a", "b", "nowhere") else a for a in arguments]
    errors = compare(*arguments, code=2)
    assert words in errors and errors.count("\n") == 1
