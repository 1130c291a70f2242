# SPDX-License-Identifier: Apache-2.0
"""Gist compression as it is trained: learned in half a minute, by any number of ranks, and not by leaks."""

import json
import subprocess

import braid_run
import h5py
import numpy as np
import pytest

QUICK = "configs/gist/passkey_quick.toml"
# Contexts of one and three segments; batches of 7 and 2 samples, which do not divide by the ranks.
SHORT = ["model.width=32", "model.layers=3", "model.mlp_width=48", "model.context=64", "gist.eval_length=40", "gist.eval_answers=5",
         'gist.phases=["segments=16 tokens=112 steps=5", "segments=16 counts=3 tokens=64 steps=7 distractors=0.1 decay=0.5 raw=0.4"]',
         "train.eval_every=6", "train.eval_samples=6", "checkpoint.every=4", "checkpoint.keep=9"]  # fmt: skip


def rows(out, table):
    with h5py.File(out / "run.h5", "r", locking=False, swmr=True) as f:
        return f[table][:]


def evaluate(out, *arguments, ranks=1):
    command = [braid_run.BRAID, "eval", str(out), "--device", "cpu", *arguments]
    if ranks > 1:
        command = ["mpirun", "-q", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    out = tmp_path_factory.mktemp("gist") / "run"
    return out, braid_run.train(QUICK, out, ranks=2)


def test_one_gist_keeps_a_key_of_64_tokens(learned):
    """Free answers to held-out keys; with another sample's gists none is right."""
    out, _ = learned
    last = rows(out, "gist")[-1]
    assert last["answers"] == 256
    assert last["exact"] >= 0.8
    assert last["shuffled"] <= 0.02


def test_no_loss_begins_below_the_entropy_of_the_key(learned):
    """Five digits are 5 ln 10 nats, spread over six targets: less would be a leak."""
    _, train = learned
    assert train["loss"][0] >= 5 * np.log(10) / 6


def test_phases_end_at_their_gate_and_the_run_with_the_last(learned):
    out, train = learned
    phases = [row for row in rows(out, "events") if row["kind"] == b"phase_ended"]
    assert [int(row["step"]) for row in phases][-1] == len(train["loss"]) - 1 < 1449
    assert len(phases) == 3
    assert rows(out, "status")[0]["state"] == b"done"
    samples = np.diff(np.concatenate([[0], train["tokens"]]))  # of 16, 32 and 64 tokens, and 6 of the question each
    assert sorted(set(samples)) == [64 * 22, 64 * 38, 64 * 70]


def test_an_evaluation_tells_gists_from_their_controls(learned, tmp_path):
    out, _ = learned
    done = evaluate(out, "--limit", "64", "--depths", "2", "--output", str(tmp_path / "e.h5"))
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "e.h5") as f:
        ours = [row for row in f["scores"] if row["suite"] == b"passkey"]
        scores = {(row["system"].decode(), float(row["depth"])) for row in ours}
        share = {row["system"].decode(): float(row["share"]) for row in ours if np.isnan(row["depth"])}
        rates = [row["hallucination_high"] for row in f["scores"]]
        answers = f["answers"][:]
        targets = {row["target"].decode(): row["verdict"].decode() for row in f["targets"]}
        gist = ours[0]
        reads = {row["system"].decode(): float(row["read_tokens"]) for row in ours if np.isnan(row["depth"])}
    assert ("gist", 0.0) in scores and ("gist", 1.0) in scores
    assert share["gist"] >= 0.8 and share["oracle"] >= 0.8 and share["search"] == 1.0
    assert max(share[name] for name in ("shuffled", "none", "truncated")) <= 0.02
    assert max(share[name] for name in ("pooled", "bm25", "window")) <= 0.05  # as much, of the raw text
    assert reads["pooled"] == reads["snapkv"] == reads["window"] == 1 and reads["bm25"] == 0 and reads["hybrid"] == 1 + 64
    assert len(answers) == (14 + 3) * 64 and all(0 < rate <= 1 for rate in rates)
    assert (targets["hallucination"] == "PASS") == (gist["hallucination_high"] < 0.1)
    assert targets["compression"] == "NOT REACHABLE" and targets["global context"] == "FAIL" and len(targets) == 6
    right = [row["answer"] == row["expected"] for row in answers
             if row["suite"] == b"passkey" and row["system"] == b"gist" and np.isnan(row["depth"])]  # fmt: skip
    assert np.mean(right) == share["gist"]
    assert gist["read_tokens"] == 1 and gist["read_bytes"] == 2 * 4 * 64 * 4
    document = json.loads((tmp_path / "e.json").read_text())
    assert [row["answer"] for row in document["answers"]] == [row["answer"].decode() for row in answers]


def test_answers_do_not_depend_on_the_ranks(learned, tmp_path):
    out, _ = learned
    tables = []
    for ranks in (1, 3):
        path = tmp_path / f"{ranks}.h5"
        done = evaluate(out, "--limit", "7", "--lengths", "64,100", "--no-full", "--output", str(path), ranks=ranks)
        assert done.returncode == 0, done.stderr
        with h5py.File(path) as f:
            tables.append([(row["system"], row["length"], row["sample"], row["answer"]) for row in f["answers"]])
    assert tables[0] == tables[1]


def test_a_run_on_texts_is_asked_in_texts(tmp_path):
    """Of a file, of its mirror, and fresh ones; what its statements say is found, and a run on tokens has no such file."""
    settings = ["model.width=32", "model.layers=2", "model.heads=2", "model.mlp_width=48", "gist.eval_length=300",
                "gist.eval_answers=2", "train.eval_every=0", 'gist.phases=["segments=300 tokens=300 steps=2"]']  # fmt: skip
    braid_run.train("configs/gist/needles_characters.toml", tmp_path / "texts", *settings)
    make = [braid_run.BRAID, "data", "needles", "--preset", "korean", "--samples", "3", "--tokens", "500", "--out", str(tmp_path)]
    subprocess.run(make, check=True, capture_output=True, timeout=60)
    file = tmp_path / "korean-test.jsonl"
    answers = {}
    for kind, asked in (("lines", ["--dataset", file]), ("arrays", ["--dataset", file.with_suffix(".h5")]),
                        ("fresh", ["--lengths", "300"])):  # fmt: skip
        out = tmp_path / f"{kind}.h5"
        done = evaluate(tmp_path / "texts", *map(str, asked), "--limit", "3", "--systems", "gist,search", "--probe", "1",
                        "--output", str(out))  # fmt: skip
        assert done.returncode == 0, done.stderr
        with h5py.File(out) as f:
            found = {(row["suite"], row["system"]): row for row in f["scores"]}
            answers[kind] = [(row["sample"], row["ids"], row["expected"]) for row in f["answers"]]
        suite = b"single" if kind == "fresh" else b"korean-test"
        assert {name for name, _ in found} == {suite, b"multikey-4", b"multivalue-4", b"vt-4"}
        assert [row["share"] for (_, system), row in found.items() if system == b"search"] == [1]
        assert all(row["of"] == 3 for row in found.values())
    assert answers["lines"] == answers["arrays"] != answers["fresh"]
    braid_run.train(QUICK, tmp_path / "tokens", *SHORT)
    refused = evaluate(tmp_path / "tokens", "--dataset", str(file))
    assert refused.returncode == 2 and "need a tokenizer" in refused.stderr and "Traceback" not in refused.stderr


def test_a_run_without_gists_has_none_to_evaluate(tmp_path):
    plain = ["gist.count=0", "model.context=22", "train.steps=2", "train.batch=4", "train.eval_every=0"]
    braid_run.train(QUICK, tmp_path / "plain", *plain)
    done = evaluate(tmp_path / "plain", "--limit", "8")
    assert done.returncode == 2
    assert "with [gist]" in done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """On one rank: the folder and /train."""
    out = tmp_path_factory.mktemp("alone") / "run"
    return out, braid_run.train(QUICK, out, *SHORT)


def same_numbers(out, run, alone):
    control, one = alone
    assert len(run["loss"]) == 12
    assert np.abs(run["loss"] - one["loss"]).max() < 1e-5
    assert np.abs(run["grad_norm"] / one["grad_norm"] - 1).max() < 1e-5
    assert np.array_equal(run["tokens"], one["tokens"])
    assert np.abs(rows(out, "eval")["loss"] - rows(control, "eval")["loss"]).max() < 1e-5
    assert rows(out, "gist")["answers"].tolist() == [5, 5, 5]
    assert rows(out, "gist")["exact"].tolist() == rows(control, "gist")["exact"].tolist()


SEGMENTS = "gist.shard_segments=true"
# Samples, or the segments of every sample, are shared out; a rank keeps parts of gradients, or of weights too.
LAYOUTS = {
    "samples_2": (2, []),
    "samples_4": (4, []),
    "segments_2": (2, [SEGMENTS]),
    "segments_4": (4, [SEGMENTS]),
    "gradients": (2, ["parallel.shard=gradients", "train.micro_batch=2"]),
    "parameters": (3, ["parallel.shard=parameters", "train.micro_batch=1"]),
    "parameters_segments_recomputed": (2, ["parallel.shard=parameters", SEGMENTS, "train.recompute=true"]),
    "hybrid": (4, ["parallel.shard=parameters", "parallel.shard_ranks=2", "optim.offload=true"]),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_numbers_of_one_rank(tmp_path, alone, name):
    ranks, keys = LAYOUTS[name]
    same_numbers(tmp_path / "run", braid_run.train(QUICK, tmp_path / "run", *SHORT, *keys, ranks=ranks), alone)


def test_checkpoints_go_from_layout_to_layout(tmp_path, alone):
    """From one rank to three with parts of weights, and from there to two with parts of gradients that share segments."""
    control, one = alone
    start = control / "checkpoints/step-00000004"
    for first, ranks, keys in [(4, 3, ["parallel.shard=parameters"]), (8, 2, ["parallel.shard=gradients", SEGMENTS])]:
        out = tmp_path / str(first)
        run = braid_run.train(QUICK, out, *SHORT, *keys, ranks=ranks, resume=start)
        assert np.abs(run["loss"] - one["loss"][first:]).max() < 1e-5
        start = out / "checkpoints/step-00000008"


def test_more_ranks_need_less_memory_for_the_same_context(tmp_path):
    """One sample of 30,000 tokens, its segments on one rank or four."""
    long = ['gist.phases=["segments=300 counts=103 tokens=30000 steps=1"]', "gist.shard_segments=true", "train.eval_every=0",
            "checkpoint.at_end=false"]  # fmt: skip
    runs = {n: braid_run.train(QUICK, tmp_path / f"n{n}", *long, ranks=n) for n in (1, 4)}
    assert runs[1]["tokens"][0] == 30084 + 6
    assert abs(runs[4]["loss"][0] - runs[1]["loss"][0]) < 1e-5
    assert runs[4]["peak_memory_bytes"][0] < 0.75 * runs[1]["peak_memory_bytes"][0]


def test_a_run_that_goes_on_is_the_run_that_was_not_stopped(tmp_path, alone):
    """From the middle of a phase, to the bit: its place among the phases is part of the checkpoint."""
    control, whole = alone
    braid_run.train(QUICK, tmp_path / "again", *SHORT, resume=control / "checkpoints/step-00000004")
    again = rows(tmp_path / "again", "train")
    assert np.array_equal(again["loss"], whole["loss"][4:])
    assert np.array_equal(again["tokens"], whole["tokens"][4:])
    assert np.array_equal(again["learning_rate"], whole["learning_rate"][4:])


@pytest.mark.parametrize(
    "override, problem",
    [
        ("gist.phases=[]", "gist.phases: expected at least one phase"),
        ('gist.phases=["segments=16"]', "expected steps="),
        ('gist.phases=["segments=16 steps=5 gates=1"]', "found gates"),
        ('gist.phases=["segments=x steps=5"]', "segments: expected a number"),
        ('gist.phases=["segments=16 steps=5 raw=2"]', "raw: expected a number from 0 to 1"),
        ('gist.phases=["segments=8 counts=2 steps=5"]', "gist.overlap: expected less than the shortest segment of 8"),
        ("model.dialect=poc", "gist.count"),
        ("data.kind=copy", "data.kind: with [gist] expected passkey or needles"),
        ("model.vocabulary=64", "model.vocabulary: with [gist] expected at least 79"),
        ("data.kind=needles", "model.vocabulary: with [gist] expected at least 257"),
        ("lora.rank=2", "lora.rank: with [gist] adapters need model.path"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path, override, problem):
    command = [braid_run.BRAID, "train", str(braid_run.ROOT / QUICK), "--out", str(tmp_path / "x"), "--set", override]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert problem in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "x").exists()
