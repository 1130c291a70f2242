# SPDX-License-Identifier: Apache-2.0
"""braid-report engram on experiments that braid made, on several seeds, and on files that are damaged, partial or missing."""

import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys

import h5py
import matplotlib.image
import numpy as np
import pytest
from matplotlib.container import BarContainer, ErrorbarContainer

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = ROOT / "tools" / "braid-report"
sys.path[:0] = [str(ROOT / "tools"), str(pathlib.Path(__file__).parent)]

import engram_builder  # noqa: E402
from braid_report import engram_plots, engram_published, engram_results, engram_tables  # noqa: E402


def report(*arguments, code=0, width=400):
    done = subprocess.run([sys.executable, REPORT, "engram", *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          env=engram_builder.ENVIRONMENT | {"COLUMNS": str(width)})  # fmt: skip
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def found_by(*arguments, code=0):
    """--json of the folders: name → evaluation, and everything."""
    everything = json.loads(report(*arguments, "--json", "-", code=code).stdout, parse_constant=pytest.fail)
    return {each["name"]: each for each in everything["evaluations"]}, everything


def rows_below(text, title):
    """name → cells of the table with this title, as printed; cells are two blanks apart or more."""
    lines = text.split(f"{title}\n")[1].split("\n\n")[0].splitlines()
    return {cells[0]: cells[1:] for cells in (re.split(r" {2,}", line) for line in lines[1:])}


def number_in(place, path, change):
    """Changes the table or attributes of an HDF5 file."""
    with h5py.File(place / path, "r+") as f:
        change(f)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder, name → what braid eval printed) of OUT/seed and OUT/ours as launch/engram lays them out."""
    root = tmp_path_factory.mktemp("engram")
    engram_builder.write_data(root / "data")
    engram_builder.write_model(root / "model")
    said = {"seed": engram_builder.experiment(root, "seed", root / "out/seed", "train.steps=25", "data.format=raw"),
            "ours": engram_builder.experiment(root, "ours", root / "out/ours", "train.steps=75")}  # fmt: skip
    return root, said


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    """(terminal, folder of the report) of both protocols."""
    out = tmp_path_factory.mktemp("report")
    return report(made[0] / "out", "--out", out / "new/place").stdout, out / "new/place"


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the experiments that a test may change."""
    return pathlib.Path(shutil.copytree(made[0] / "out", tmp_path / "out"))


def test_scores_and_p_are_those_that_braid_printed(made):
    evaluations, _ = found_by(made[0] / "out")
    assert list(evaluations) == ["seed", "ours"]
    for name, said in made[1].items():
        lines = re.findall(r"^(base|tuned) +(\w+) +(\w+) +(\d+) +(\d+) +\S+ % +(\S+) % to (\S+) %$", said, re.M)
        scores = evaluations[name]["scores"]
        there = [(s["model"], s["items"], s["match"], str(s["right"]), str(s["of"]), f"{100 * s['low']:.1f}", f"{100 * s['high']:.1f}")
                 for s in scores]  # fmt: skip
        assert len(lines) == 16 and there == lines
        assert evaluations[name]["p_value"] == pytest.approx(float(re.search(r"p = (\S+)\)", said)[1]), rel=5e-3)  # three digits


def test_training_is_that_of_the_run(made):
    evaluations, _ = found_by(made[0] / "out")
    for name, steps in (("seed", 25), ("ours", 75)):
        training = evaluations[name]["training"]
        with h5py.File(made[0] / "out" / name / "run/run.h5") as f:
            loss, seconds = f["train"]["loss"], f["train"]["elapsed_seconds"][-1]
            assert training["parameters_trainable"] == f.attrs["parameters_trainable"]
            assert training["held_out_loss"] == f["eval"]["loss"][-1]
        assert (training["steps"], training["train_examples"], training["epochs"]) == (steps, 6, steps * 6 / 6)
        assert np.allclose((training["first_loss"], training["last_loss"]), (loss[:10].mean(), loss[-10:].mean()), rtol=1e-12)
        assert training["seconds"] == seconds and training["last_loss"] < training["first_loss"]


def test_the_terminal_has_the_protocols_with_the_public_figures_below(page):
    accuracy = rows_below(page[0], "Accuracy")
    assert list(accuracy) == ["seed", "public: seed", "ours"]
    assert accuracy["ours"][1:5] == ["75.00 % (6/8) [40.9, 92.9]", "+75.00", "–", "0.031"]
    assert accuracy["public: seed"][:5] == ["8.59 % (11/128) [4.9, 14.7]", "6.25 % (8/128) [3.2, 11.8]", "-2.34", "-27.3 %", "0.47"]
    training = rows_below(page[0], "Training")
    assert training["ours"][:3] == ["6", "75.00", "75"] and training["public: seed"][3:7] == ["26.1", "4.010", "3.190", "-20.4 %"]
    assert training["ours"][8].replace(",", "") == str(3 * 8 * (2 * (72 + 72) + 2 * (72 + 24) + 3 * (72 + 88)))
    latency = page[0].split("Latency\n")[1].split("\n\n")[0]
    assert len(re.findall(r"^(?:seed|ours) +(?:base|tuned)(?: +[\d.]+ / [\d.]+ / [\d.]+){3} ", latency, re.M)) == 4
    assert "Mean and range over seeds" not in page[0] and "commit 78377d0" in page[0]


def test_latencies_add_up(made):
    for each in found_by(made[0] / "out")[0].values():
        means = {(l["model"], l["phase"]): l["mean"] for l in each["latency_ms"]}
        for model in ("base", "tuned"):
            assert means[model, "whole"] == pytest.approx(means[model, "prefill"] + means[model, "decode"], rel=1e-9)


class Nesting(html.parser.HTMLParser):
    """Complains of tags that do not close in order."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        self.open += [tag] if tag not in ("meta", "img", "br") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_shows_answers(page, made):
    text = (page[1] / "report.html").read_text()
    nesting = Nesting()
    nesting.feed(text)
    assert nesting.open == []
    assert not re.search(r"""(src|href)=(?!"data:)|url\(|@import|<script|<link|https?:""", text)
    assert text.count("data:image/png;base64,") == len(list(page[1].glob("*.png"))) == 6
    assert text.count('<tr class="public">') == 3 and "SmolLM-135M-Instruct" in text
    with h5py.File(made[0] / "out/ours/engram.h5") as f:
        rows = {row["prompt"].decode(): row for row in f["examples"][:]}
    wrong, learnt = rows["Q: Capital of Chad?\nA:"], rows["Fix: if x = 5:"]
    assert "N&#x27;Djamena &lt;&amp;&gt;" in text and (wrong["tuned_prefix"], learnt["tuned_prefix"]) == (0, 1)
    assert re.search(r"<td>learnt</td><td>Fix: if x = 5:</td>.*<td class=\"wrong\">.*<td class=\"right\"> if x == 5:</td>", text)
    assert "learning_rate = 0.01" in text  # how each run was made


def test_every_picture_shows_something(page):
    names = {"accuracy", "seen", "losses", "latency", "categories_seed", "categories_ours"}
    assert {path.stem for path in page[1].glob("*.png")} == names
    for path in page[1].glob("*.png"):
        assert matplotlib.image.imread(path)[..., :3].std() > 0.05, path


def test_bars_and_intervals_are_the_scores(made):
    evaluations = engram_tables.in_order([engram_results.read_evaluation(made[0] / f"out/{name}/engram.h5") for name in ("ours", "seed")])
    axes = engram_plots.accuracy(evaluations).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["seed", "ours"]
    base, tuned = (c for c in axes.containers if isinstance(c, BarContainer))
    shares = [each.share("tuned") for each in evaluations]
    assert [bar.get_width() for bar in tuned] == [100 * share.value for share in shares] and [bar.get_width() for bar in base] == [0, 0]
    ends = [segment[:, 0] for segment in tuned.errorbar.lines[2][0].get_segments()]
    assert np.allclose(ends, [(100 * share.low, 100 * share.high) for share in shares])
    public = [c for c in axes.containers if isinstance(c, ErrorbarContainer) and c not in (base.errorbar, tuned.errorbar)]
    assert [c.lines[0].get_xdata()[0] for c in public] == [1100 / 128, 800 / 128]


def test_categories_are_those_that_changed_most(made):
    tuned = engram_results.read_evaluation(made[0] / "out/ours/engram.h5")
    assert [(c.name, c.change) for c in engram_plots.changed_most(tuned)] == [
        ("date <$a$>", 1), ("loop", 1), ("networking", 1), ("typo", 1), ("geography", pytest.approx(1 / 3))]  # fmt: skip
    tuned.categories = [engram_results.Category(f"c{i}", 20, 10, 10 + (-1) ** i * i % 20) for i in range(-9, 10)]
    shown = engram_plots.changed_most(tuned)
    assert len(shown) == 12 and {abs(c.change) for c in shown} >= {0.45, 0.4, 0.35}


def test_intervals_and_p_values_of_the_public_counts():
    """As published with the counts, to the digits given there."""
    said = {name: (each.base, each.tuned, each.p_value()) for name, each in engram_published.PUBLISHED.items()}
    ends = {name: [(f"{100 * s.low:.1f}", f"{100 * s.high:.1f}") for s in shares[:2]] for name, shares in said.items()}
    assert ends["seed"] == [("4.9", "14.7"), ("3.2", "11.8")] and ends["raw"][1] == ("9.1", "21.1")
    assert {name: f"{p:.2f}" for name, (_, _, p) in said.items()} == {"seed": "0.47", "raw": "0.17", "mlx": "0.49"}
    shares = {name: (f"{100 * base.value:.2f}", f"{100 * tuned.value:.2f}") for name, (base, tuned, _) in said.items()}
    assert shares == {"seed": ("8.59", "6.25"), "raw": ("8.59", "14.06"), "mlx": ("8.65", "11.54")}


def test_mcnemar_is_twice_the_smaller_tail_of_fair_throws():
    for (lost, gained), p in {(0, 0): 1, (3, 3): 1, (0, 1): 1, (0, 6): 2 / 2**6, (9, 2): 2 * (1 + 11 + 55) / 2**11}.items():
        assert engram_results.mcnemar_exact(lost, gained) == p


def add_seed(out, seed, right):
    """out/ours-SEED: ours again with another seed and another score."""
    place = shutil.copytree(out / "ours", out / f"ours-{seed}")

    def other_seed(f):
        f.attrs["config"] = np.bytes_(f.attrs["config"].replace(b"\nseed = 0\n", b"\nseed = %d\n" % seed))

    def other_score(f):
        f.attrs["protocol"] = np.bytes_("ours")
        scores = f["scores"][:]
        scores["right"][(scores["model"] == b"tuned") & (scores["items"] == b"all") & (scores["match"] == b"prefix")] = right
        f["scores"][:] = scores

    number_in(place, "run/run.h5", other_seed)
    number_in(place, "engram.h5", other_score)


def test_seeds_of_equal_settings_are_averaged(copy):
    number_in(copy, "ours/engram.h5", lambda f: f.attrs.update(protocol=np.bytes_("ours")))
    add_seed(copy, 1, 3)
    add_seed(copy, 2, 5)
    add_seed(copy, 3, 8)
    number_in(copy, "ours-3/run/run.h5", lambda f: f.attrs.update(config=f.attrs["config"].replace(b"rank = 8", b"rank = 16")))
    found, everything = found_by(copy)
    evaluations = [engram_results.read_evaluation(each["file"]) for each in found.values()]
    axes = engram_plots.seeds(evaluations).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["seed rank=8", "ours rank=8", "ours rank=16"]
    ours = [line for line in axes.get_lines() if line.get_ydata()[0] == 1 and line.get_label().startswith("tuned")]
    assert [list(line.get_xdata()) for line in ours] == [[75, 37.5, 62.5], [pytest.approx(175 / 3)]]
    assert [[list(found)[place] for place in group] for group in everything["seed_groups"]] == [["ours", "ours-1", "ours-2"]]
    text = report(copy).stdout
    lines = [re.split(r" {2,}", line) for line in text.split("Mean and range over seeds\n")[1].split("\n\n")[0].splitlines()]
    assert lines[0][:6] == ["setting", "seeds", "lora.rank", "epochs", "base", "tuned"]
    assert [line[:3] + line[5:6] for line in lines[1:]] == [
        ["seed", "1", "8", "25.00"], ["ours", "3", "8", "58.33 [37.50, 75.00]"], ["ours", "1", "16", "100.00"]]  # fmt: skip
    assert list(rows_below(text, "Accuracy")) == ["seed", "public: seed", "ours", "ours-1 (ours)", "ours-2 (ours)", "ours-3 (ours)"]


def test_runs_of_a_sweep_are_averaged_whatever_they_are_called(copy):
    """As launch/engram --sweep names them: the protocol is each run's own name, the evaluation lies in the run's folder."""
    for rank, seed in ((8, 0), (8, 1), (16, 0)):
        place = copy / f"sweep/e10_r{rank}_s{seed}"
        place.mkdir(parents=True)
        shutil.copy(copy / "ours/engram.h5", place)
        shutil.copy(copy / "ours/run/run.h5", place)

        def settings(config, rank=rank, seed=seed):
            return config.replace(b"rank = 8", b"rank = %d" % rank).replace(b"\nseed = 0\n", b"\nseed = %d\n" % seed)

        number_in(place, "engram.h5", lambda f, place=place: f.attrs.update(protocol=np.bytes_(place.name)))
        number_in(place, "run.h5", lambda f: f.attrs.update(config=settings(f.attrs["config"])))
    text = report(copy / "sweep").stdout
    assert list(rows_below(text, "Accuracy")) == ["e10_r8_s0", "e10_r8_s1", "e10_r16_s0"] and "Public figures" not in text
    groups = rows_below(text, "Mean and range over seeds")
    assert [(name, *cells[:2]) for name, cells in groups.items()] == [("e10_r8", "2", "8"), ("e10_r16", "1", "16")]


def test_the_protocol_is_the_files_and_else_the_folders(copy):
    number_in(copy, "seed/engram.h5", lambda f: f.attrs.update(protocol=np.bytes_("mlx")))
    (copy / "ours").rename(copy / "mine")
    (copy / "raw").mkdir()
    shutil.copytree(copy / "mine", copy / "raw/again")
    evaluations, _ = found_by(copy)
    assert {name: each["protocol"] for name, each in evaluations.items()} == {"again": "raw", "seed": "mlx", "mine": "mine"}
    assert list(rows_below(report(copy).stdout, "Accuracy")) == ["again (raw)", "public: raw", "seed (mlx)", "public: mlx", "mine"]


def test_what_is_damaged_or_missing_costs_a_line_each(copy, tmp_path):
    for name in ("cut", "noise", "other", "unrun", "lost"):
        shutil.copytree(copy / "ours", copy / name)
    file = copy / "cut/engram.h5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (copy / "noise/engram.h5").write_bytes(b"no HDF5" * 99)
    shutil.copy(copy / "ours/run/run.h5", copy / "other/engram.h5")
    shutil.rmtree(copy / "unrun/run")
    (copy / "lost/engram.h5").unlink()
    (copy / "seed/run/run.h5").write_bytes(b"")
    done = report(copy, "--out", tmp_path / "page", code=1)
    tail = done.stdout.splitlines()
    for start in ("cut: cannot be read: ", "noise: cannot be read: ", "other: cannot be read: no evaluation of the Engram test",
                  "unrun: no run beside it", "lost: not evaluated (its run: done)", "seed: its run cannot be read: "):  # fmt: skip
        assert sum(line.startswith(start) for line in tail) == 1, start
    assert list(rows_below(done.stdout, "Accuracy")) == ["seed", "public: seed", "ours", "unrun"] and done.stderr == ""
    assert list(rows_below(done.stdout, "Training")) == ["seed", "public: seed", "ours", "lost", "unrun"]
    text = (tmp_path / "page/report.html").read_text()
    assert text.count('<li class="bad">') == 6 and "75.00 % (6/8)" in text


def test_a_run_of_a_base_model_is_no_missing_evaluation(copy):
    shutil.copytree(copy / "ours/run", copy / "base/run")
    number_in(copy, "base/run/run.h5", lambda f: f.attrs.update(config=f.attrs["config"].replace(b'kind = "examples"', b'kind = "tokens"')))
    assert set(found_by(copy)[0]) == {"seed", "ours"}


def test_files_without_adapter_tables_or_data_show_what_they_have(made, copy, tmp_path):
    root = made[0]
    engram_builder.braid("eval", "engram", "--model", root / "model", "--data", root / "data", "--out", tmp_path / "bare.h5",
                         "--max-new-tokens", 2, "--device", "cpu")  # fmt: skip
    number_in(copy, "ours/engram.h5", lambda f: f.pop("latency"))
    number_in(copy, "ours/engram.h5", lambda f: f.attrs.update(data=np.bytes_("gone")))
    number_in(copy, "ours/run/run.h5", lambda f: f.attrs.update(epoch_samples=12, hardware=np.bytes_("2 x ABC")))
    gone = (f'path = "{root / "data"}"'.encode(), b'path = "gone"')
    number_in(copy, "seed/run/run.h5", lambda f: f.attrs.update(config=f.attrs["config"].replace(*gone)))
    number_in(copy, "seed/run/run.h5", lambda f: f.attrs.pop("epoch_samples"))  # as older runs have none
    number_in(copy, "seed/engram.h5", lambda f: f.attrs.update(data=np.bytes_("gone")))
    done = report(copy, tmp_path / "bare.h5", "--out", tmp_path / "page")
    assert rows_below(done.stdout, "Accuracy")["bare"][1:] == ["–"] * 4 + ["0.00 % (0/8) [0.0, 32.4]", "–"]
    training = rows_below(done.stdout, "Training")["ours"]
    assert training[:2] == ["12", "37.50"] and training[9] == "2 x ABC, 1 rank"
    assert rows_below(done.stdout, "Training")["seed"][:2] == ["–", "–"]
    assert "ours" not in rows_below(done.stdout, "Latency")


def test_wrong_use_is_one_line(made, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, words in (([tmp_path / "none"], "no such folder"), ([tmp_path], "no engram.h5 found"),
                             ([made[0] / "out", "--out", tmp_path / "file"], "cannot be written"),
                             ([made[0] / "out", "--json", tmp_path / "no/file"], "cannot be written")):  # fmt: skip
        done = report(*arguments, code=2)
        assert words in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


def test_a_narrow_terminal_wraps(made):
    lines = report(made[0] / "out", width=70).stdout.splitlines()
    assert max(map(len, lines)) <= 70
