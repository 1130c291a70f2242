# SPDX-License-Identifier: Apache-2.0
"""LoRA, DoRA and their kin against peft, on random models and adapters that transformers and peft wrote."""

import os
import subprocess

import braid_run
import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft", reason="peft is not installed: launch/setup --test-packages")
pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
from hf_models import load, make_folder, random_ids  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

PROBE = os.path.join(os.path.dirname(braid_run.BRAID), "tests", "adapter_probe")
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
ALL = [*ATTENTION, "gate_proj", "up_proj", "down_proj"]

FORMS = {
    "all seven": dict(target_modules=ALL, r=8, lora_alpha=16),
    "q and v, as ranks differ": dict(target_modules=["q_proj", "v_proj"], r=4, lora_alpha=6,
                                     rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"v_proj": 3.5}),
    "rank stabilised, layers 0 and 2": dict(target_modules=ALL, r=6, lora_alpha=9, use_rslora=True, layers_to_transform=[0, 2]),
    "DoRA": dict(target_modules=ALL, r=4, lora_alpha=8, use_dora=True),
    "head and a copy of the embedding": dict(target_modules=[*ATTENTION, "lm_head"], r=4, lora_alpha=8,
                                             modules_to_save=["embed_tokens"]),
    "copies of both": dict(target_modules=["q_proj"], r=2, lora_alpha=4, modules_to_save=["embed_tokens", "lm_head"]),
}  # fmt: skip


def make_adapter(model, folder, seed=3, **form):
    """peft's adapter with weights that are alive, B too; returns the adapted model."""
    config = peft.LoraConfig(task_type="CAUSAL_LM", **form)
    adapted = peft.get_peft_model(model, config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    adapted.save_pretrained(folder)
    return adapted.eval()


def targets_for(ids):
    targets = torch.roll(ids, -1, 1)
    targets[:, -1] = -100
    targets[0, :3] = -100
    return targets


def braid_results(model, adapter, ids, folder, dtype="float64", write=None):
    save_file({"ids": ids, "targets": targets_for(ids)}, folder / "ids.safetensors")
    command = [PROBE, "--model", model, "--adapter", adapter, "--ids", folder / "ids.safetensors", "--out", folder / "out.safetensors",
               "--dtype", dtype, *(["--write", write] if write else [])]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return load_file(folder / "out.safetensors")


def reference(adapted, ids):
    """Logits, loss and the gradient of everything that is trained, under Braid's names."""
    logits = adapted(ids).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets_for(ids).flatten(), ignore_index=-100)
    loss.backward()
    gradients = {}
    for name, parameter in adapted.named_parameters():
        if parameter.requires_grad:
            short = name.removeprefix("base_model.model.").removeprefix("model.").replace(".default", "")
            short = short.replace(".modules_to_save", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")
            gradients[short] = parameter.grad
    return logits.detach(), loss.detach(), gradients


def assert_close(found, expected, tolerance, what):
    error = (found.double() - expected.double()).norm() / expected.double().norm()
    assert error <= tolerance, (what, float(error))


@pytest.mark.parametrize("form", FORMS)
# transformers takes norms and rotary angles in float32 in its double form, too: 3e-7 apart without any adapter, and 1e-6 in gradients.
@pytest.mark.parametrize("dtype, tolerance", [("float64", 5e-6), ("float32", 1e-4)])
def test_logits_loss_and_every_gradient_are_pefts(tmp_path, form, dtype, tolerance):
    folder = make_folder(tmp_path / "model")
    model = load(folder).to(getattr(torch, dtype))
    ids = random_ids(model, 3, 21)
    base = model(ids).logits.detach()
    adapted = make_adapter(model, tmp_path / "adapter", **FORMS[form])
    logits, loss, gradients = reference(adapted, ids)
    found = braid_results(folder, tmp_path / "adapter", ids, tmp_path, dtype)
    assert_close(found["logits"], logits, tolerance, "logits")
    assert_close(found["loss"], loss.reshape(1), tolerance, "loss")
    assert_close(found["off"], base, tolerance, "switched off")
    assert set(gradients) == set(found) - {"logits", "loss", "off", "merged", "unmerged"}
    for name, gradient in gradients.items():
        assert_close(found[name], gradient, tolerance, name)


@pytest.mark.parametrize("form", ["all seven", "rank stabilised, layers 0 and 2", "DoRA"])
def test_merged_weights_are_pefts_and_unmerging_undoes_it(tmp_path, form):
    folder = make_folder(tmp_path / "model")
    model = load(folder).to(torch.float64)
    ids = random_ids(model, 2, 17)
    adapted = make_adapter(model, tmp_path / "adapter", **FORMS[form])
    found = braid_results(folder, tmp_path / "adapter", ids, tmp_path)
    assert_close(found["unmerged"], found["logits"], 1e-9, "unmerged")
    merged = adapted.merge_and_unload()
    assert_close(found["merged"], merged(ids).logits.detach(), 1e-6, "merged")


@pytest.mark.parametrize("form", FORMS)
def test_what_braid_writes_peft_loads(tmp_path, form):
    folder = make_folder(tmp_path / "model")
    model = load(folder)
    ids = random_ids(model, 2, 9)
    make_adapter(model, tmp_path / "adapter", **FORMS[form])
    found = braid_results(folder, tmp_path / "adapter", ids, tmp_path, "float32", write=tmp_path / "again")
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again"))
    before = {name: tensor for name, tensor in before.items() if not name.endswith(".base_layer.weight")}  # the base model's
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    again = peft.PeftModel.from_pretrained(load(folder), tmp_path / "again").eval()
    assert_close(found["logits"], again(ids).logits.detach(), 1e-5, "logits")


def test_a_layer_of_smollms_width_agrees(tmp_path):
    folder = make_folder(tmp_path / "model", vocab_size=512, hidden_size=576, intermediate_size=1536, num_hidden_layers=1,
                         initializer_range=0.04)  # fmt: skip
    model = load(folder)
    ids = random_ids(model, 2, 64)
    adapted = make_adapter(model, tmp_path / "adapter", target_modules=ALL, r=8, lora_alpha=16)
    logits, loss, gradients = reference(adapted, ids)
    found = braid_results(folder, tmp_path / "adapter", ids, tmp_path, "float32")
    assert_close(found["logits"], logits, 1e-4, "logits")
    for name, gradient in gradients.items():
        assert_close(found[name], gradient, 1e-4, name)


@pytest.mark.parametrize("field, value, said", [
    ("peft_type", "IA3", "peft_type: expected \"LORA\""), ("bias", "all", "bias: expected \"none\""), ("r", 0, "r: expected"),
    ("fan_in_fan_out", True, "fan_in_fan_out"), ("target_modules", ["model.layers.0.mlp.up_proj"], "target_modules"),
    ("target_modules", ["fc1"], "lora.targets"), ("layers_to_transform", [9], "lora.layers"), ("exclude_modules", ["q_proj"], "exclude"),
])  # fmt: skip
def test_what_braid_cannot_do_is_one_line(tmp_path, field, value, said):
    import json

    folder = make_folder(tmp_path / "model")
    make_adapter(load(folder), tmp_path / "adapter", target_modules=["q_proj"], r=2, lora_alpha=4)
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(AssertionError) as refused:
        braid_results(folder, tmp_path / "adapter", torch.zeros(1, 4, dtype=torch.long), tmp_path)
    (line,) = str(refused.value).splitlines()[:1]
    assert said in line and "adapter_config.json" in line


@pytest.mark.parametrize("damage, said", [("missing", "not there"), ("shape", "expected shape"), ("nan", "finite"), ("extra", "no place")])
def test_damaged_adapter_weights_are_one_line(tmp_path, damage, said):
    folder = make_folder(tmp_path / "model")
    make_adapter(load(folder), tmp_path / "adapter", target_modules=["q_proj"], r=2, lora_alpha=4)
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if "layers.1" in name and "lora_A" in name)
    if damage == "missing":
        del tensors[name]
    if damage == "shape":
        tensors[name] = tensors[name][:1].clone()
    if damage == "nan":
        tensors[name][0, 5] = float("nan")
    if damage == "extra":
        tensors[name.replace("layers.1", "layers.7")] = tensors[name].clone()
    save_file(tensors, path)
    with pytest.raises(AssertionError) as refused:
        braid_results(folder, tmp_path / "adapter", torch.zeros(1, 4, dtype=torch.long), tmp_path)
    assert said in str(refused.value) and "adapter_model.safetensors" in str(refused.value)
