# SPDX-License-Identifier: Apache-2.0
"""A run with adapters from a model folder to peft and to the Engram test, beside transformers and peft."""

import shutil

import braid_run
import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft", reason="peft is not installed: launch/setup --test-packages")
pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed: launch/setup --test-packages")
from engram_pairs import TOKENIZER, make_places, train  # noqa: E402
from hf_models import braid, greedy, load, make_folder  # noqa: E402

@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return make_places(tmp_path_factory.mktemp("places"))


def trained(places, out, *overrides, ranks=0):
    train("ours.toml", places, out, *overrides, ranks=ranks)
    with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
        return f["train"]["loss"][:], dict(f.attrs) | {"held_out_accuracy": f["eval"]["accuracy"][-1]}


@pytest.fixture(scope="module")
def tuned(places, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned")
    losses, attributes = trained(places, out / "run", "train.steps=150", "train.eval_every=50")
    done = braid("checkpoint", "export", out / "run", "--peft", out / "adapter")
    assert done.returncode == 0, done.stderr
    return out, losses, attributes


def test_losses_do_not_depend_on_the_ranks(places, tmp_path):
    losses = {ranks: trained(places, tmp_path / str(ranks), "lora.dropout=0.1", ranks=ranks)[0] for ranks in (1, 2, 3)}
    assert losses[1][-1] < losses[1][0]
    for ranks in (2, 3):
        assert np.abs(losses[ranks] / losses[1] - 1).max() < 1e-5


def test_packed_examples_give_the_loss_of_single_ones(places, tmp_path):
    single, _ = trained(places, tmp_path / "single", "train.steps=1")
    packs = ["data.packs=true", "train.batch=2", "model.context=96", "train.steps=10", "lora.dropout=0.1"]
    packed, _ = trained(places, tmp_path / "packed", *packs)
    assert abs(packed[0] / single[0] - 1) < 1e-5  # all six examples in the one batch, none seeing another
    shared, _ = trained(places, tmp_path / "shared", *packs, "parallel.context=2", ranks=2)
    assert packed[-1] < packed[0] and np.abs(shared / packed - 1).max() < 1e-5  # nor where two ranks share their tokens


def test_only_adapters_are_trained_and_stored(tuned):
    out, losses, attributes = tuned
    assert losses[-1] < 0.6 * losses[0] and attributes["held_out_accuracy"] == 1  # a random frozen head bounds the loss
    assert attributes["parameters_trainable"] == 3 * 8 * (2 * (72 + 72) + 2 * (72 + 24) + 3 * (72 + 88))
    with h5py.File(next((out / "run/checkpoints").glob("step-00000150")) / "manifest.h5", "r") as f:
        names = {name.decode() for name in f["slices"]["tensor"]}
    assert all("lora_" in name for name in names)


def test_the_adapter_loads_in_peft_and_answers_as_here(places, tuned):
    out, _, _ = tuned
    found = out / "engram.h5"
    done = braid("eval", "engram", "--model", places / "model", "--adapter", out / "adapter", "--data", places / "data",
                 "--out", found, "--max-new-tokens", 16, "--device", "cpu", ranks=2, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    tokenizer = tokenizers.Tokenizer.from_file(str(TOKENIZER))
    models = {"base": load(places / "model"), "tuned": peft.PeftModel.from_pretrained(load(places / "model"), out / "adapter").eval()}
    with h5py.File(found, "r") as f:
        rows = f["examples"][:]
        scores = {(r["model"], r["items"], r["match"]): (r["right"], r["of"]) for r in f["scores"][:]}
    for name, model in models.items():
        for row in rows:
            ids = greedy(model, tokenizer.encode(row["prompt"].decode()).ids, 16)
            ids = ids[: ids.index(0)] if 0 in ids else ids
            assert row[f"{name}_answer"].decode() == tokenizer.decode(ids), (name, row["prompt"])
    assert scores[b"tuned", b"all", b"strict"] == (6, 6) and scores[b"base", b"all", b"prefix"] == (0, 6)
    assert scores[b"tuned", b"verbatim", b"prefix"] == (6, 6)


def test_a_run_answers_at_the_length_that_its_folder_takes(tuned):
    out, _, _ = tuned  # trained on at most 48 tokens
    done = braid("eval", "engram", "--run", out / "run", "--max-new-tokens", 60, "--device", "cpu", timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_run_that_goes_on_ends_as_one_that_never_stopped(places, tmp_path):
    whole, _ = trained(places, tmp_path / "whole", "checkpoint.every=5")
    trained(places, tmp_path / "parts", "train.steps=12", "checkpoint.every=5", "optim.schedule=constant")
    first, _ = trained(places, tmp_path / "constant", "checkpoint.every=5", "optim.schedule=constant")
    second, _ = trained(places, tmp_path / "parts", "checkpoint.every=5", "optim.schedule=constant")
    assert np.array_equal(first, second) and len(whole) == len(first)


def test_a_model_without_room_for_its_tokenizer_is_refused(places, tmp_path):
    small = make_folder(tmp_path / "small", vocab_size=100)
    shutil.copy(TOKENIZER, small / "tokenizer.json")
    done = braid("train", braid_run.ROOT / "configs/engram/ours.toml", "--out", tmp_path / "run", "--set", f"model.path={small}",
                 "--set", f"data.path={places / 'data'}", "--set", "model.context=48")  # fmt: skip
    assert done.returncode == 2 and "do not fit model.vocabulary = 100" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
