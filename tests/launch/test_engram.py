# SPDX-License-Identifier: Apache-2.0
"""launch/engram from nothing to its table, with braid itself and a very small model, and what it does when given again."""

import json
import os
import pathlib
import subprocess

import h5py
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BRAID = pathlib.Path(os.environ.get("BRAID_BUILD", ROOT / "build")) / "braid"
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", BRAID_BINARY=str(BRAID))
PROTOCOLS = ["seed", "mlx", "ours", "ours-clean", "memory"]


def engram(out, *arguments):
    command = [ROOT / "launch/engram", "--out", out, "--device", "cpu", *arguments]
    return subprocess.run(list(map(str, command)), env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=280)


def quick(out):
    return engram(out, "--quick", "--text", ROOT / "tests", "--protocols", "seed,mlx,ours,memory")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("engram") / "out"
    done = quick(out)
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def accuracy(printed):
    return printed[printed.index("Accuracy\n"):].split("\n\n")[0]


def times(out):
    return {path.relative_to(out): path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".h5", ".safetensors", ".jsonl")}


def test_each_protocol_has_its_answers_and_a_row(made):
    out, printed = made
    table = accuracy(printed).splitlines()[2:]
    assert [line.split()[0] for line in table if not line.startswith("public: ")] == PROTOCOLS
    for name in PROTOCOLS:
        with h5py.File(out / name / "engram.h5", "r") as answers, h5py.File(out / name / "run/run.h5", "r") as run:
            assert answers.attrs["protocol"] == name.encode() and answers.attrs["world_size"] == run.attrs["world_size"] == 2
            assert answers.attrs["hardware"] == run.attrs["hardware"] != b""
            assert answers.attrs["parameters"] + answers.attrs["adapter_parameters"] == run.attrs["parameters"]
            assert answers.attrs["adapter_parameters"] == run.attrs["parameters_trainable"] > 0
            data = out / "data" / {"mlx": "mlx", "ours-clean": "clean"}.get(name, "cuda")
            assert run.attrs["epoch_samples"] == len((data / "train.jsonl").read_text().splitlines())


def test_an_epoch_is_every_batch_once(made):
    out, _ = made
    with h5py.File(out / "seed/run/run.h5", "r") as run:
        assert len(run["train"]) == -(-int(run.attrs["epoch_samples"]) // 4)


def test_the_public_protocols_keep_what_was_public(made):
    out, _ = made
    adapter = json.loads((out / "mlx/adapter/adapter_config.json").read_text())
    assert adapter["layers_to_transform"] == [1] and adapter["lora_alpha"] / adapter["r"] == 20  # of two layers
    with h5py.File(out / "seed/run/run.h5", "r") as run:
        assert b'kind = "adamw8bit"' in run.attrs["config"] and b'format = "alpaca"' in run.attrs["config"]
    with h5py.File(out / "mlx/run/run.h5", "r") as run:
        assert b'format = "chatml"' in run.attrs["config"]  # the model made here has no template of its own


def test_given_again_it_makes_nothing(made):
    out, printed = made
    before = times(out)
    done = quick(out)
    assert done.returncode == 0, done.stderr
    assert times(out) == before
    assert accuracy(done.stdout) == accuracy(printed)


def test_what_is_missing_alone_is_made_again(made):
    out, _ = made
    before = times(out)
    (out / "seed/engram.h5").unlink()
    done = quick(out)
    assert done.returncode == 0, done.stderr
    after = times(out)
    assert {path for path in after if after[path] != before[path]} == {pathlib.Path("seed/engram.h5")}


@pytest.mark.parametrize("arguments, words", [
    (["--quick", "--protocols", "seed,best"], "unknown protocol 'best'"),
    (["--model", "/nowhere"], "--model /nowhere: expected a Hugging Face folder"),
    ([], "choose another --out"),  # it holds a quick one
    (["--fast"], "unknown option --fast"),
])  # fmt: skip
def test_wrong_use_is_one_line(made, arguments, words):
    done = engram(made[0], *arguments)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and words in done.stderr
