# SPDX-License-Identifier: Apache-2.0
"""Models in NF4, read, made and written, and adapters trained on them, beside transformers, bitsandbytes and peft."""

import braid_run
import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install bitsandbytes==0.50.2")
peft = pytest.importorskip("peft", reason="peft is not installed: launch/setup --test-packages")
transformers = pytest.importorskip("transformers", reason="transformers is not installed: launch/setup --test-packages")
from hf_models import braid, generated, greedy, make_folder, one_line, probe, random_ids, sets  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from test_lora import ALL, FORMS, assert_close, braid_results, make_adapter, reference  # noqa: E402

# Rows of whole blocks: bitsandbytes' CPU library takes the wrong absmax for others.
SHAPE = dict(hidden_size=128, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
             initializer_range=0.08)  # fmt: skip


def load_quantised(path, **options):
    """In training mode, in which bitsandbytes computes in the type of the activations; there is no dropout. With options a
    plain folder is quantised, else one that was."""
    form = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", **options) if options else None
    given = {"quantization_config": form} if form else {}
    return transformers.AutoModelForCausalLM.from_pretrained(path, **given).train()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Plain folders, and the same ones as transformers and bitsandbytes write them."""
    root = tmp_path_factory.mktemp("folders")
    for name, dtype in (("plain", torch.float32), ("bf16", torch.bfloat16)):
        make_folder(root / name, dtype=dtype, **SHAPE)
    forms = {"single": ("plain", {}), "double": ("plain", {"bnb_4bit_use_double_quant": True}), "double_bf16": ("bf16", {"bnb_4bit_use_double_quant": True}),
             "partly": ("plain", {"llm_int8_skip_modules": ["model.layers.1", "layers.0.self_attn.k_proj", "down_proj", "lm_head"]}),
             "head_too": ("plain", {"llm_int8_skip_modules": ["model.layers.0.mlp"]})}  # fmt: skip
    for name, (source, options) in forms.items():
        shard = {"max_shard_size": "60KB"} if name == "double" else {}
        load_quantised(root / source, bnb_4bit_compute_dtype=torch.float32, **options).save_pretrained(root / name, **shard)
    return root


def tensors(path):
    return {name: tensor for file in sorted(path.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("form", ["single", "double", "partly", "head_too"])
def test_a_checkpoint_of_bitsandbytes_gives_transformers_logits_and_tokens(folders, tmp_path, form):
    model = load_quantised(folders / form)
    ids = random_ids(model, 2, 70)
    with torch.no_grad():
        theirs = model(ids).logits
    ours = probe(folders / form, ids, tmp_path / "probe.safetensors")["logits"]
    assert theirs.std() > 0.5
    assert (ours - theirs).abs().max() < 1e-4
    assert torch.nn.functional.cosine_similarity(ours.flatten(), theirs.double().flatten(), dim=0) > 0.999999
    prompts = [[5, 17, 80], [1], [3, 3, 96, 41, 0, 12, 7, 55, 61]]
    assert generated(folders / form, prompts, 24) == [greedy(model, prompt, 24) for prompt in prompts]


@pytest.mark.parametrize("form", ["single", "double"])
def test_loss_and_every_gradient_of_adapters_on_nf4_are_pefts(folders, tmp_path, form):
    model = load_quantised(folders / form)
    ids = random_ids(model, 3, 21)
    adapted = make_adapter(model, tmp_path / "adapter", **FORMS["all seven"]).train()
    logits, loss, gradients = reference(adapted, ids)
    found = braid_results(folders / form, tmp_path / "adapter", ids, tmp_path, "float32")
    assert_close(found["logits"], logits, 2e-5, "logits")
    assert_close(found["loss"], loss.reshape(1), 2e-5, "loss")
    assert len(gradients) == 2 * 3 * len(ALL) and set(gradients) <= set(found)
    for name, gradient in gradients.items():
        assert_close(found[name], gradient, 2e-5, name)


def same_but_for_codes(ours, theirs):
    """Equal bytes; of the absmax' 8-bit codes the neighbours that bitsandbytes' table of 65,536 steps gives on CPUs."""
    assert ours.keys() == theirs.keys()
    differences = [torch.zeros(1)]
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and ours[name].shape == tensor.shape, name
        if name.endswith(".absmax") and tensor.dtype == torch.uint8:
            differences.append((ours[name].int() - tensor.int()).abs().float())
        else:
            assert torch.equal(ours[name], tensor), name
    assert torch.cat(differences).max() <= 1 and torch.cat(differences).mean() < 0.01, float(torch.cat(differences).mean())


@pytest.mark.parametrize("plain, form, words", [("plain", "single", ["--nf4=single"]), ("plain", "double", ["--nf4", "--shard-size", "60KB"]),
                                                ("bf16", "double_bf16", ["--nf4"])])  # fmt: skip
def test_what_is_quantised_here_is_what_bitsandbytes_makes_and_loads(folders, tmp_path, plain, form, words):
    assert braid("checkpoint", "import", "--hf", folders / plain, "--out", tmp_path / "start").returncode == 0
    done = braid("checkpoint", "export", tmp_path / "start", "--hf", tmp_path / "out", *words)
    assert done.returncode == 0, done.stderr
    assert (len(list((tmp_path / "out").glob("*.safetensors"))) > 1) == ("--shard-size" in words)
    same_but_for_codes(tensors(tmp_path / "out"), tensors(folders / form))
    model, theirs = load_quantised(tmp_path / "out"), load_quantised(folders / form)
    ids = random_ids(model, 2, 30)
    with torch.no_grad():
        if form == "single":
            assert torch.equal(model(ids).logits, theirs(ids).logits)
        if form == "double":  # neighbouring codes of a few absmax
            assert_close(model(ids).logits, theirs(ids).logits, 2e-3, "logits")


def test_a_plain_folder_is_quantised_as_it_is_loaded(folders, tmp_path):
    ids = torch.arange(60).reshape(2, 30)
    ours = [probe(folders / name, ids, tmp_path / "probe.safetensors", *words)["logits"]
            for name, words in (("single", ()), ("plain", ("--quantise", "single")), ("plain", ()))]  # fmt: skip
    assert torch.equal(ours[0], ours[1]) and not torch.equal(ours[1], ours[2])
    assert generated(folders / "plain", [[1, 2]], 5, "--quantise", "nf4") == generated(folders / "double", [[1, 2]], 5)


def trained(folder, out, *assignments, ranks=0):
    keys = [f"model.path={folder}", "model.context=24", "lora.rank=4", "lora.dropout=0.1", "train.steps=4", "train.batch=4",
            "train.micro_batch=2", "optim.learning_rate=0.01", "optim.warmup_steps=0", *assignments]  # fmt: skip
    config = out.parent / "tune.toml"
    config.write_text('[data]\nkind = "induction"\n')
    done = braid("train", config, "--out", out, "--device", "cpu", *sets(keys), ranks=ranks)
    assert done.returncode == 0, done.stderr
    with h5py.File(out / "run.h5", "r", swmr=True, locking=False) as f:
        return f["train"]["loss"][:]


NF4 = ["model.quantise=nf4", "model.double_quantise=false"]


@pytest.fixture(scope="module")
def runs(folders, tmp_path_factory):
    """A run that quantises as it loads, on one rank and on two: folder and losses."""
    root = tmp_path_factory.mktemp("runs")
    return {ranks: (root / str(ranks), trained(folders / "plain", root / str(ranks), *NF4, ranks=ranks)) for ranks in (1, 2)}


def same_checkpoint(one, other):
    return braid("checkpoint", "diff", one, other, "--tensors", "*").stdout.endswith(" 0 differ\n")


def test_a_run_quantises_or_takes_what_is_quantised(folders, runs, tmp_path):
    out, losses = runs[1]
    assert losses[-1] < losses[0]
    assert np.array_equal(losses, trained(folders / "single", tmp_path / "single")) and same_checkpoint(out, tmp_path / "single")
    assert not np.array_equal(losses, trained(folders / "plain", tmp_path / "dense"))


def test_losses_on_nf4_do_not_depend_on_the_ranks(runs):
    assert np.abs(runs[2][1] / runs[1][1] - 1).max() < 1e-5


@pytest.mark.parametrize("shard, ranks", [("gradients", 3), ("parameters", 2)])
def test_losses_on_nf4_do_not_depend_on_how_adapters_are_spread(folders, runs, tmp_path, shard, ranks):
    losses = trained(folders / "plain", tmp_path / "spread", *NF4, f"parallel.shard={shard}", ranks=ranks)
    assert np.abs(losses / runs[1][1] - 1).max() < 1e-5


@pytest.mark.parametrize("ranks", [1, 2])
def test_recomputation_changes_no_bit(folders, runs, tmp_path, ranks):
    out, losses = runs[ranks]
    again = trained(folders / "plain", tmp_path / "again", *NF4, "train.recompute=true", ranks=ranks)
    assert np.array_equal(losses, again) and same_checkpoint(out, tmp_path / "again")


def test_a_run_on_nf4_goes_on_as_if_it_had_not_stopped(folders, tmp_path):
    keys = ["optim.schedule=constant", "checkpoint.every=2"]
    whole = trained(folders / "double", tmp_path / "whole", *keys)
    trained(folders / "double", tmp_path / "parts", *keys, "train.steps=2")
    assert np.array_equal(whole, trained(folders / "double", tmp_path / "parts", *keys))
    with h5py.File(next((tmp_path / "whole/checkpoints").iterdir()) / "manifest.h5", "r") as f:
        assert all(b"lora_" in name for name in f["slices"]["tensor"])


def test_the_adapter_of_a_run_on_nf4_answers_in_peft_as_here(folders, tmp_path):
    trained(folders / "single", tmp_path / "run", "train.steps=30", "lora.dropout=0.0")
    assert braid("checkpoint", "export", tmp_path / "run", "--peft", tmp_path / "adapter").returncode == 0
    model = load_quantised(folders / "single")
    ids = random_ids(model, 2, 20)
    adapted = peft.PeftModel.from_pretrained(model, tmp_path / "adapter").train()
    found = braid_results(folders / "single", tmp_path / "adapter", ids, tmp_path, "float32")
    assert_close(found["logits"], adapted(ids).logits.detach(), 1e-4, "logits")


@pytest.mark.parametrize("words, said", [
    (["model.quantise=nf4", "lora.rank=0"], "lora.rank: expected 1 or more, since model.quantise is \"nf4\""),
    (["model.quantise=nf4", 'model.dense_modules=["(("]'], "model.dense_modules: expected names of modules"),
])  # fmt: skip
def test_what_cannot_be_quantised_is_one_line(folders, tmp_path, words, said):
    (tmp_path / "tune.toml").write_text('[data]\nkind = "induction"\n[lora]\nrank = 4\n')
    line = one_line(braid("train", tmp_path / "tune.toml", "--out", tmp_path / "run", *sets([f"model.path={folders / 'plain'}", *words])), 2)
    assert said in line and not (tmp_path / "run").exists()


def test_a_quantised_folder_says_so_where_that_is_refused(folders, tmp_path):
    (tmp_path / "tune.toml").write_text('[data]\nkind = "induction"\n[lora]\nrank = 4\n')
    run = ["train", tmp_path / "tune.toml", "--out", tmp_path / "run"]
    line = one_line(braid(*run, *sets([f"model.path={folders / 'single'}", "model.quantise=none"])), 2)
    assert 'model.quantise: expected "nf4", which' in line
    assert "needs model.path" in one_line(braid(*run, *sets(["model.dialect=llama", "model.quantise=nf4"])), 2)
    line = one_line(braid("checkpoint", "import", "--hf", folders / "single", "--out", tmp_path / "start"), 2)
    assert "quantization_config: expected none, since checkpoints hold dense weights" in line


def test_the_plan_of_llama3_8b_needs_no_weights():
    config = braid_run.ROOT / "configs/finetune/llama3_8b_qlora.toml"
    done = braid("train", config, "--dry-run", "--set", 'lora.targets=["q_proj","k_proj","v_proj","o_proj"]', "--set", "lora.rank=16")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["parameters"] == str(8030261248 + 13631488) and lines["trained"].startswith("13631488 (0.17 %)")
    blocks = 6979321856 // 64
    assert lines["quantised"].startswith("6979321856 in NF4, 3.4 GiB") and round((6979321856 / 2 + blocks * (1 + 4 / 256)) / 2**30, 1) == 3.4
    kept = braid("train", config, "--dry-run", "--set", "train.recompute=false").stdout
    assert "activations" in kept and kept != done.stdout


def test_smollm_has_the_trainable_parameters_of_the_experiment():
    done = braid("train", braid_run.ROOT / "configs/finetune/smollm_135m_r8.toml", "--dry-run")
    assert done.returncode == 0 and "trained      2442240 " in done.stdout
