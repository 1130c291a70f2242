# SPDX-License-Identifier: Apache-2.0
"""Hash memory (Engram, arXiv 2601.07372) against a form of its own in PyTorch around transformers' Llama, and from training on
several ranks to generation."""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

import braid_run
import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed: launch/setup --test-packages")
from engram_pairs import PAIRS, TOKENIZER, make_places, train  # noqa: E402
from hf_models import braid, load, make_folder, random_ids  # noqa: E402
from memory_torch import Memory  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

sys.path.append(str(braid_run.ROOT / "tests/serve"))
from serve_run import fetch, serving  # noqa: E402

PROBE = pathlib.Path(os.path.dirname(braid_run.BRAID)) / "tests" / "memory_probe"
F = torch.nn.functional
WIDTH, VOCABULARY, EPSILON = 72, 97, 1e-5  # of hf_models.TINY


def put_on(memory, model, ids, segments):
    """Hooks before the layers; texts are runs of equal segments."""

    def hook(index):
        def before(_, arguments, named):
            hidden = arguments[0]
            rows = []
            for row, (text, parts) in enumerate(zip(ids, segments, strict=True)):
                pieces = [int(n) for n in torch.unique_consecutive(parts, return_counts=True)[1]]
                added = [memory.added(index, i, h) for i, h in zip(text.split(pieces), hidden[row].split(pieces), strict=True)]
                rows.append(torch.cat(added))
            return (hidden + torch.stack(rows), *arguments[1:]), named

        return before

    return [model.model.layers[n].register_forward_pre_hook(hook(i), with_kwargs=True) for i, n in enumerate(memory.form["layers"])]


FORM = dict(layers=[0, 2], table_size=30, width=12, heads=3, max_order=3, kernel=4, gate="root", pad=60)
FORMS = {"root": FORM, "plain, four tokens": FORM | dict(gate="plain", max_order=4, layers=[1], kernel=2), "bigrams": FORM | dict(max_order=2, heads=1)}


def block_mask(segments):
    same = segments[:, :, None] == segments[:, None, :]
    return (same & torch.ones_like(same).tril())[:, None]


def probed(model, memory, tensors, folder, *more):
    save_file(tensors, folder / "ids.safetensors")
    command = [PROBE, "--model", model, "--memory", memory, "--ids", folder / "ids.safetensors", "--out", folder / "out.safetensors", *more]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def close(found, expected, what, tolerance=1e-5):  # rotary angles are float32 in transformers' double form, too
    error = (found - expected).norm() / expected.norm()
    assert error <= tolerance, (what, float(error))


def with_double_norms(model):
    """transformers takes norms in float32 in its double form, too; the root of a small score enlarges that."""
    for parent in list(model.modules()):
        for name, norm in parent.named_children():
            if type(norm).__name__ == "LlamaRMSNorm":
                double = torch.nn.RMSNorm(WIDTH, eps=EPSILON, dtype=torch.float64)
                double.weight.data.copy_(norm.weight.data)
                setattr(parent, name, double)
    return model


@pytest.mark.parametrize("form", FORMS)
def test_logits_loss_and_every_gradient_are_those_of_pytorch(tmp_path, form):
    folder = make_folder(tmp_path / "model")
    model = with_double_norms(load(folder).double())
    ids = random_ids(model, 3, 17)
    segments = torch.zeros_like(ids)
    segments[1, 5:] = 1
    segments[1, 6:] = 2
    targets = ids.roll(-1, 1)
    targets[0, :3] = -100
    base = model(ids, attention_mask=block_mask(segments)).logits.detach()
    memory = Memory(FORMS[form], WIDTH, VOCABULARY, EPSILON)
    hooks = put_on(memory, model, ids, segments)
    logits = model(ids, attention_mask=block_mask(segments)).logits
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)
    loss.backward()
    assert hooks
    done = probed(folder, memory.save(tmp_path / "memory"), {"ids": ids, "targets": targets, "segments": segments}, tmp_path, "--write", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "out.safetensors")
    close(found["off"], base, "off")
    close(found["logits"], logits.detach(), "logits")
    close(found["loss"], loss.detach().reshape(1), "loss")
    gradients = memory.named(lambda p: p.grad)
    assert set(gradients) == set(found) - {"off", "logits", "loss"}
    for name, gradient in gradients.items():
        close(found[name], gradient, name)
    before, after = (load_file(tmp_path / name / "memory.safetensors") for name in ("memory", "again"))
    assert before.keys() == after.keys() and all(torch.equal(before[n].to(after[n].dtype), after[n]) for n in before)


def test_folders_that_cannot_be_are_refused_in_one_line(tmp_path):
    folder, memory = make_folder(tmp_path / "model"), Memory(FORM, WIDTH, VOCABULARY)
    ids = torch.zeros(1, 2, dtype=torch.long)
    good = memory.save(tmp_path / "memory")
    tensors = load_file(good / "memory.safetensors")
    form = json.loads((good / "memory_config.json").read_text())
    edits = [({"layers": [3]}, {}, "memory.layers: expected 0 to 2"), ({"model_width": 71}, {}, "model_width: expected the model's 72"),
             ({"streams": 4}, {}, "streams: expected none, since the model keeps one stream"), ({"gate": "open"}, {}, "gate: expected"), ({"heads": 5}, {}, "memory.heads: expected a divisor"),
             ({}, {"memory.table": None}, "memory.table: expected by memory_config.json"), ({}, {"moduli": tensors["moduli"][:1]}, "moduli: found shape"),
             ({}, {"multipliers": tensors["multipliers"] * 0}, "multiplier"), ({}, {"canonical_ids": tensors["canonical_ids"][:90]}, "knows 90 tokens"),
             ({}, {"more": tensors["moduli"].clone()}, "more: has no place"),
             ({}, {"memory.layers.0.conv.weight": tensors["memory.layers.0.conv.weight"] * float("nan")}, "expected finite weights")]  # fmt: skip
    for fields, changed, line in edits:
        bad = tmp_path / "bad"
        bad.mkdir(exist_ok=True)
        (bad / "memory_config.json").write_text(json.dumps(form | fields))
        save_file({n: t for n, t in (tensors | changed).items() if t is not None}, bad / "memory.safetensors")
        done = probed(folder, bad, {"ids": ids, "targets": ids.clone(), "segments": ids.clone()}, tmp_path)
        assert done.returncode == 2 and line in done.stderr and len(done.stderr.strip().splitlines()) == 1, (line, done.stderr)


MEMORY = ["train.eval_samples=5", "memory.layers=[0,2]", "memory.table_size=500", "memory.width=32", "memory.heads=4"]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return make_places(tmp_path_factory.mktemp("places"))


def trained(places, out, *overrides, ranks=0):
    train("memory.toml", places, out, *MEMORY, *overrides, ranks=ranks)
    with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
        return f["train"]["loss"][:], f["train"]["grad_norm"][:], f["eval"]["loss"][:]


def stored(out, name):
    """A tensor of the newest checkpoint, and where its slices begin."""
    folder = sorted((out / "checkpoints").glob("step-*"))[-1]
    with h5py.File(folder / "manifest.h5", "r") as f:
        slices = [(row["box_origin"].decode(), row["box_extent"].decode()) for row in f["slices"][:] if row["tensor"].decode() == name]
        return f["view"][name][:], sorted(slices, key=lambda s: int(s[0].split(",")[0]))


def test_losses_norms_and_tables_do_not_depend_on_the_ranks(places, tmp_path):
    sets = ["lora.rank=4", "train.batch=5", "optim.learning_rate=0.002"]
    results = {ranks: trained(places, tmp_path / str(ranks), *sets, ranks=ranks) for ranks in (1, 2, 3)}
    assert results[1][0][-1] < 0.9 * results[1][0][0]
    for ranks in (2, 3):
        loss, norm, held_out = (np.abs(mine / one - 1) for mine, one in zip(results[ranks], results[1], strict=True))
        assert loss.max() < 1e-5 and held_out.max() < 1e-5
        assert norm[:4].max() < 1e-5 and norm.max() < 1e-3  # Adam enlarges rounding, and the norm shows it first
        for name in ("model/memory.table", "optim/exp_avg/memory.table", "model/memory.layers.2.value.weight"):
            table, slices = stored(tmp_path / str(ranks), name)
            one, _ = stored(tmp_path / "1", name)
            assert np.linalg.norm(table - one) < 1e-3 * np.linalg.norm(one), name
        table, slices = stored(tmp_path / str(ranks), "model/memory.table")
        ends = np.cumsum([int(extent.split(",")[0]) for _, extent in slices])
        assert len(slices) == ranks and [int(o.split(",")[0]) for o, _ in slices] == [0, *ends[:-1]] and ends[-1] == len(table)


def test_a_run_goes_on_over_another_number_of_ranks(places, tmp_path):
    whole, _, _ = trained(places, tmp_path / "whole", "optim.schedule=constant")
    trained(places, tmp_path / "parts", "train.steps=12", "optim.schedule=constant", ranks=3)
    parts, _, _ = trained(places, tmp_path / "parts", "optim.schedule=constant", "train.micro_batch=2", ranks=2)
    assert len(parts) == 20 and np.abs(parts / whole - 1).max() < 1e-5


def test_a_memory_learns_by_heart_and_is_asked_from_its_folder(places, tmp_path):
    losses, _, _ = trained(places, tmp_path / "run", "train.steps=60", "train.eval_every=60")
    assert losses[-1] < 0.6 * losses[0]  # a random frozen head bounds the loss
    done = braid("checkpoint", "export", tmp_path / "run", "--memory", tmp_path / "memory")
    assert done.returncode == 0, done.stderr
    found = tmp_path / "engram.h5"
    done = braid("eval", "engram", "--model", places / "model", "--memory", tmp_path / "memory", "--data", places / "data",
                 "--out", found, "--max-new-tokens", 16, "--device", "cpu", ranks=2, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with h5py.File(found, "r") as f:
        scores = {(r["model"], r["items"], r["match"]): (r["right"], r["of"]) for r in f["scores"][:]}
        answers = {r["prompt"].decode(): r["tuned_answer"].decode() for r in f["examples"][:]}
    assert scores[b"tuned", b"all", b"strict"] == (6, 6) and scores[b"base", b"all", b"prefix"][0] == 0
    ids = tokenizers.Tokenizer.from_file(str(TOKENIZER)).encode(PAIRS[0][0]).ids
    done = braid("generate", "--model", places / "model", "--memory", tmp_path / "memory", "--ids", ",".join(map(str, ids)),
                 "--max-new-tokens", 16, "--device", "cpu")  # fmt: skip
    new = [int(word) for word in done.stdout.split(",")]
    assert tokenizers.Tokenizer.from_file(str(TOKENIZER)).decode(new) == answers[PAIRS[0][0]]
    with serving(places / "model", "--memory", tmp_path / "memory", "--step-tokens", 4, "--speculate", "ngram") as server:
        def ask(prompt):
            return json.loads(fetch(server.url() + "/v1/completions", {"prompt": prompt, "temperature": 0, "max_tokens": 16}))
        with concurrent.futures.ThreadPoolExecutor(len(PAIRS)) as pool:
            told = list(pool.map(ask, [prompt for prompt, _ in PAIRS]))
        assert [reply["choices"][0]["text"] for reply in told] == [answers[prompt] for prompt, _ in PAIRS]
        assert server.end() == 0


def test_the_whole_model_trains_with_it_from_drawn_weights(tmp_path):
    sets = ["model.dialect=llama", "model.layers=2", "model.width=32", "model.mlp_width=48", "model.heads=4", "model.context=16", "train.batch=4",
            "model.vocabulary=64", "model.residual=residual", "data.kind=copy", "memory.layers=[1]", "memory.table_size=50", "memory.width=16", "memory.heads=2", "train.steps=4"]  # fmt: skip
    words = [word for assignment in sets for word in ("--set", assignment)]
    config = braid_run.ROOT / "configs/mhc/demo_mhc.toml"
    done = braid("train", config, "--out", tmp_path / "no", "--device", "cpu", *words)
    assert done.returncode == 2 and "memory.trains_model: without model.path" in done.stderr
    losses = {}
    for ranks in (0, 2):
        out = tmp_path / str(ranks)
        done = braid("train", config, "--out", out, "--device", "cpu", *words, "--set", "memory.trains_model=true", ranks=ranks)
        assert done.returncode == 0, done.stderr
        with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
            losses[ranks] = f["train"]["loss"][:]
            assert f.attrs["parameters"] == f.attrs["parameters_trainable"]
    assert np.abs(losses[2] / losses[0] - 1).max() < 1e-5
