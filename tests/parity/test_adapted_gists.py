# SPDX-License-Identifier: Apache-2.0
"""Gists on Hugging Face models with adapters that act on gists alone: beside transformers and peft, and as runs."""

import os
import subprocess

import braid_run
import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft", reason="peft is not installed: launch/setup --test-packages")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
from gist_torch import Row, count_on_rows, loss_of  # noqa: E402
from hf_models import braid, make_folder, one_line, sets  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from test_plan import planned  # noqa: E402

PROBE = os.path.join(os.path.dirname(braid_run.BRAID), "tests", "gist_probe")
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# Rows of whole NF4 blocks.
SHAPE = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             initializer_range=0.12)  # fmt: skip
N, QUESTION, REPEAT, GISTS = 19, 6, 7, 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model") / "plain", **SHAPE)


def inputs(repeat):
    """Two samples whose questions and spans differ in length."""
    torch.manual_seed(5)
    tokens = torch.randint(0, 97, (2, N + QUESTION + repeat))
    targets = torch.full_like(tokens, -100)
    targets[0, N + 2 : N + 5] = torch.tensor([5, 9, 1])
    targets[1, N + 1 : N + 6] = torch.tensor([7, 7, 3, 2, 1])
    if repeat:
        tokens[0, -2:] = -100
    return {"tokens": tokens, "targets": targets, "vectors": torch.randn(GISTS, 64, dtype=torch.double) * 0.3,
            "repeat": torch.randn(1, 64, dtype=torch.double) * 0.3}  # fmt: skip


def adapter_on(model, path, seed=3):
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", target_modules=ALL, r=4, lora_alpha=6))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(path)
    return adapted


def ours(folder, adapter, given, tmp_path, repeat, *words):
    save_file(given, tmp_path / "in.safetensors")
    command = [PROBE, "--model", folder, "--adapter", adapter, "--inputs", tmp_path / "in.safetensors", "--out", tmp_path / "out.safetensors",
               "--segment", 8, "--overlap", 2, "--question", QUESTION, "--repeat", repeat, *words]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return load_file(tmp_path / "out.safetensors")


def theirs(model, adapted, given, rows, repeat, cue, weights):
    row = Row(N, 8, 2, GISTS, QUESTION, repeat)
    with torch.no_grad(), adapted.disable_adapter():
        teacher = adapted(given["tokens"][:, : N + QUESTION]).logits
    count_on_rows(adapted, row.gists if rows == "gist" else torch.ones_like(row.gists))
    vectors, prompt = (given[name].clone().requires_grad_(True) for name in ("vectors", "repeat"))
    answers, loss = loss_of(model, row, given["tokens"], given["targets"], QUESTION, repeat, cue, weights, vectors, prompt, teacher)
    loss.backward()
    found = {"loss": loss.detach(), "answers": answers.detach(), "further": (loss - answers).detach(), "gist.vectors": vectors.grad}
    if repeat:
        found["gist.repeat"] = prompt.grad
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            found[name.replace("base_model.model.model.", "").replace(".default", "")] = grad
    return found


def assert_same(found, expected, tolerance):
    assert set(expected) <= set(found)
    for name, value in expected.items():
        difference = (found[name].reshape(value.shape) - value).abs().max()
        assert difference < tolerance * max(1.0, float(value.abs().max())), (name, float(difference))


@pytest.mark.parametrize("rows", ["gist", "all"])
@pytest.mark.parametrize("terms", [False, True], ids=["answers", "with further terms"])
def test_loss_and_every_gradient_are_those_of_one_masked_pass(folder, tmp_path, rows, terms):
    """Two stages here, transformers' eager attention with a 4-D mask and peft's layers there, which take norms, softmax and
    angles in single precision even of a double model."""
    repeat, cue, weights = (REPEAT, 2, (0.3, 0.7)) if terms else (0, 0, (0, 0))
    given = inputs(repeat)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.double, attn_implementation="eager").eval()
    adapted = adapter_on(model, tmp_path / "adapter")
    expected = theirs(model, adapted, given, rows, repeat, cue, weights)
    words = ["--rows", rows, "--cue", cue, "--weights", weights[0], "--weights", weights[1]]
    found = ours(folder, tmp_path / "adapter", given, tmp_path, repeat, *words)
    assert_same(found, expected, 2e-6)
    assert float(found["base_gradients"]) == 0
    assert sum(float(value.abs().max()) > 0 for name, value in expected.items() if "lora_" in name) >= (32 if rows == "gist" else 42)
    for name, value in found.items():  # what gradient buckets wait for: after the last addition
        if name.startswith("ready."):
            assert torch.equal(value, found[name[6:]]), name
    again = ours(folder, tmp_path / "adapter", given, tmp_path, repeat, *words, "--recompute")
    assert all(torch.equal(again[name], value) for name, value in found.items())


def test_gists_on_four_bits_are_those_of_the_weights_that_bitsandbytes_dequantises(folder, tmp_path):
    bnb = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install bitsandbytes==0.50.2")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.double, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_proj" in name:
                packed, state = bnb.functional.quantize_4bit(parameter.float(), quant_type="nf4")
                parameter.copy_(bnb.functional.dequantize_4bit(packed, state))
    adapted = adapter_on(model, tmp_path / "adapter")
    given = inputs(0)
    expected = theirs(model, adapted, given, "gist", 0, 0, (0, 0))
    found = ours(folder, tmp_path / "adapter", given, tmp_path, 0, "--weights", 0, "--weights", 0, "--quantise", "single")
    assert_same(found, expected, 1e-6)


TOKENIZER = braid_run.ROOT / "tests/text/data/l3.json"
CONFIG = """
[lora]
rank = 2
rows = "gist"
[gist]
count = 2
segment = 144
overlap = 96
phases = ["segments=160 tokens=480 steps=3", "segments=144 counts=2,3 tokens=400 steps=3 distractors=0.5"]
eval_length = 160
eval_answers = 3
[data]
kind = "needles"
format = "llama3"
[needles]
languages = ["en", "ko"]
tasks = ["single=0.8", "vt=0.2"]
keys = 1
question_tokens = 160
[optim]
learning_rate = 0.01
warmup_steps = 0
[train]
eval_every = 3
eval_samples = 3
[checkpoint]
every = 3
keep = 9
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with Llama 3's form of tokenizer, and a run on it: quantised as it is loaded, with further loss terms."""
    root = tmp_path_factory.mktemp("places")
    make_folder(root / "model", vocab_size=6005, max_position_embeddings=512, **SHAPE | {"num_hidden_layers": 2})
    (root / "model/tokenizer.json").write_bytes(TOKENIZER.read_bytes())
    (root / "gist.toml").write_text(CONFIG)
    return root


def trained(places, out, *assignments, ranks=0, config="gist.toml"):
    keys = [f"model.path={places / 'model'}", *assignments]
    done = braid("train", places / config, "--out", out, "--device", "cpu", *sets(keys), ranks=ranks)
    assert done.returncode == 0, done.stderr
    with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
        return f["train"]["loss"][:], f["eval"]["loss"][:], f["gist"][:]


def further_terms(out):
    with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
        return np.stack([f["train"]["reconstruction_loss"], f["train"]["distillation_divergence"]])


TERMS = ["model.quantise=nf4", "gist.reconstruction=0.3", "gist.distillation=0.2", "train.recompute=true"]


@pytest.fixture(scope="module")
def run(places, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "one"
    return out, trained(places, out, *TERMS)


def test_a_run_learns_and_stores_vectors_and_adapters_alone(run):
    out, (losses, _, answers) = run
    assert losses[0] > 3 and answers["answers"].tolist() == [3, 3, 3]
    with h5py.File(out / "checkpoints/step-00000006/manifest.h5", "r") as f:
        names = {name.decode() for name in f["slices"]["tensor"] if name.startswith(b"model/")}
    assert {"model/gist.vectors", "model/gist.repeat"} < names
    assert all("lora_" in name or "gist." in name for name in names) and len(names) == 2 + 2 * 2 * len(ALL)


def test_losses_do_not_depend_on_the_ranks(places, run, tmp_path):
    """Nor on what they keep parts of: weights in 4 bits under adapters, too, which a teacher's passes gather as well."""
    for shared, shard in (("false", "parameters"), ("true", "gradients")):
        keys = [*TERMS, f"gist.shard_segments={shared}", f"parallel.shard={shard}"]
        losses, held_out, answers = trained(places, tmp_path / shared, *keys, ranks=2)
        assert answers["answers"].tolist() == [3, 3, 3]
        assert np.abs(losses - run[1][0]).max() < 2e-5 and np.abs(held_out - run[1][1]).max() < 2e-5
        assert np.abs(further_terms(tmp_path / shared) - further_terms(run[0])).max() < 2e-5
        layout = {"shard": shard, "micro_batch": 3 if shared == "true" else 2, "recompute": True}  # all of a rank's samples
        plans = planned(tmp_path, 2, [f"model.path={places / 'model'}", *keys], config=places / "gist.toml")
        (plan,) = [p for p in plans if {key: p[key] for key in layout} == layout]
        with h5py.File(tmp_path / shared / "run.h5", "r", swmr=True, locking=False) as f:
            assert f["train"]["communicated_bytes"][1] == plan["steps"][0]["sent_bytes"]


def test_a_run_that_goes_on_ends_as_one_that_never_stopped(places, run, tmp_path):
    paged = [*TERMS, "optim.kind=adamw8bit", "optim.paged=true"]
    whole = trained(places, tmp_path / "whole", *paged)
    step = tmp_path / "whole/checkpoints/step-00000003"
    keys = [f"model.path={places / 'model'}", *paged]
    done = braid("train", places / "gist.toml", "--out", tmp_path / "again", "--device", "cpu", "--resume", step, *sets(keys))
    assert done.returncode == 0, done.stderr
    with h5py.File(tmp_path / "again/run.h5", "r", swmr=True, locking=False) as f:
        assert np.array_equal(f["train"]["loss"][:], whole[0][3:])
    assert np.array_equal(whole[0], run[1][0])  # tensors this small keep moments of 32 bits, as bitsandbytes has it


@pytest.mark.parametrize("config", ["llama3_8b_seed.toml", "llama3_8b_recommended.toml"])
def test_the_plans_of_llama3_8b_need_no_weights(config):
    done = braid("train", braid_run.ROOT / "configs/gist" / config, "--dry-run")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    trained = {"llama3_8b_seed.toml": 13631488 + 10 * 4096, "llama3_8b_recommended.toml": 2 * 13631488 + 3 * 4096}[config]
    assert lines["trained"].startswith(f"{trained} ") and lines["parameters"] == str(8030261248 + trained)


@pytest.mark.parametrize("words, said", [
    (["gist.count=0", "data.kind=induction"], 'lora.rows: "gist" needs gist.count'),
    (["gist.count=0", "lora.rows=all"], 'data.kind: "needles" needs gist.count'),
    (["lora.dropout=0.1"], "lora.dropout: with [gist] expected 0"),
    (['lora.saved_modules=["lm_head"]'], "lora.saved_modules"),
    (['lora.targets=["lm_head"]'], "lora.targets"),
    (['needles.tasks=["double"]'], "needles.tasks: expected single"),
    (["needles.question_tokens=8"], "needles.question_tokens: expected at least"),
    (["lora.rank=0", "gist.distillation=1"], "gist.distillation"),
    (['gist.phases=["segments=40 tokens=80 steps=2 raw=0.5"]'], "expected no raw="),
    (["model.context=100"], "model.context: with [gist] expected at least"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(places, tmp_path, words, said):
    keys = [f"model.path={places / 'model'}", *words]
    line = one_line(braid("train", places / "gist.toml", "--out", tmp_path / "run", *sets(keys)), 2)
    assert said in line
