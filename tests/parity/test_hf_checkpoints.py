# SPDX-License-Identifier: Apache-2.0
"""Runs that begin with a model folder, and checkpoints as model folders that transformers loads; on one and two ranks."""

import json

import pytest

pytest.importorskip("transformers", reason="compares with transformers: pip install transformers==5.24.0 into .deps/venv")

import braid_run  # noqa: E402
import h5py  # noqa: E402
import torch  # noqa: E402
from hf_models import braid, load, make_folder, one_line, probe, random_ids, sets  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

CONFIG = "configs/lm/tiny_llama_bytes.toml"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A configuration without a shape of its own."""
    path = tmp_path_factory.mktemp("config") / "tune.toml"
    path.write_text('[data]\nkind = "induction"\n[train]\nsteps = 2\nbatch = 4\nlog_every = 1\n[optim]\nlearning_rate = 0.01\n')
    return path


@pytest.fixture(scope="module", params=["float32", "tied_bfloat16", "llama3_shards"])
def folder(request, tmp_path_factory):
    changes = {"float32": dict(head_dim=10), "tied_bfloat16": dict(tie_word_embeddings=True, dtype=torch.bfloat16),
               "llama3_shards": dict(shard="40KB", eos_token_id=[2, 5],
                                     rope_parameters=dict(rope_type="llama3", rope_theta=5e5, factor=4.0, low_freq_factor=1.0,
                                                          high_freq_factor=4.0, original_max_position_embeddings=40))}  # fmt: skip
    path = make_folder(tmp_path_factory.mktemp(request.param) / "model", **changes[request.param])
    (path / "tokenizer.json").write_text('{"version": "1.0"}')
    (path / "tokenizer_config.json").write_text("{}")
    return path


def train(config, out, folder, *assignments, ranks=1):
    keys = [f"model.path={folder}", "model.context=24", *assignments]
    done = braid("train", config, "--out", out, "--device", "cpu", *sets(keys), ranks=ranks)
    assert done.returncode == 0, done.stderr
    return done


def succeed(*words):
    done = braid(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def weights(path):
    return {k: v for file in path.glob("*.safetensors") for k, v in load_file(file).items()}


def same_bits(a, b):
    assert set(a) == set(b)
    for name in a:
        assert a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("ranks", [1, 2])
def test_weights_pass_through_a_run_unchanged(folder, config, tmp_path, ranks):
    """Two steps with a learning rate of zero; float32 masters hold every bfloat16 exactly."""
    train(config, tmp_path / "run", folder, "optim.learning_rate=0.0", ranks=ranks)
    stored = next(iter(weights(folder).values())).dtype
    succeed("checkpoint", "export", tmp_path / "run", "--hf", tmp_path / "out", "--dtype", "bf16" if stored == torch.bfloat16 else "fp32")
    same_bits(weights(folder), weights(tmp_path / "out"))


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_trained_checkpoint_loads_in_transformers_with_its_logits(folder, config, tmp_path, ranks):
    train(config, tmp_path / "run", folder, ranks=ranks)
    said = succeed("checkpoint", "export", tmp_path / "run", "--hf", tmp_path / "out", "--shard-size", "50KB")
    assert "with tokenizer" in said and len(list((tmp_path / "out").glob("model-0*.safetensors"))) > 1
    before, after = load(folder), load(tmp_path / "out")
    assert (before.lm_head.weight - after.lm_head.weight).abs().max() > 1e-3  # it learned
    ids = random_ids(after, 2, 60)
    with torch.no_grad():
        theirs = after(ids).logits
    assert (probe(tmp_path / "out", ids, tmp_path / "probe.safetensors")["logits"] - theirs).abs().max() < 1e-4
    kept = {"dtype", "torch_dtype", "transformers_version", "rope_theta", "rope_scaling", "rope_parameters"}
    old, new = (json.loads((p / "config.json").read_text()) for p in (folder, tmp_path / "out"))
    assert {k: v for k, v in old.items() if k not in kept} == {k: v for k, v in new.items() if k not in kept}
    assert before.config.rope_parameters == after.config.rope_parameters
    assert (tmp_path / "out/generation_config.json").read_text() == (folder / "generation_config.json").read_text()
    assert (tmp_path / "out/tokenizer.json").read_text() == (folder / "tokenizer.json").read_text()


def test_losses_do_not_depend_on_ranks_and_the_run_says_where_it_came_from(folder, config, tmp_path):
    tables = []
    for ranks in (1, 2):
        train(config, tmp_path / f"run{ranks}", folder, "train.steps=4", ranks=ranks)
        with h5py.File(tmp_path / f"run{ranks}/run.h5", "r", locking=False, swmr=True) as f:
            tables.append(f["train"][:])
            attributes = {name: f.attrs[name].decode() for name in ("model_path", "model_digest", "hf_config", "hf_generation_config")}
    assert abs(tables[0]["loss"] - tables[1]["loss"]).max() < 1e-5
    assert attributes["model_path"] == str(folder) and attributes["model_digest"].startswith("crc32c:")
    assert attributes["hf_config"] == (folder / "config.json").read_text()
    assert attributes["hf_generation_config"] == (folder / "generation_config.json").read_text()


def test_import_and_export_are_each_others_inverse(folder, config, tmp_path):
    succeed("checkpoint", "import", "--hf", folder, "--out", tmp_path / "start")
    succeed("checkpoint", "verify", tmp_path / "start")
    succeed("checkpoint", "export", tmp_path / "start", "--hf", tmp_path / "out")
    same_bits(weights(folder), weights(tmp_path / "out"))
    train(config, tmp_path / "by_path", folder)
    done = braid("train", config, "--out", tmp_path / "by_import", "--resume", tmp_path / "start", "--device", "cpu",
                 *sets([f"model.path={folder}", "model.context=24"]))  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = [tmp_path / name for name in ("by_path", "by_import")]
    for run in again:
        succeed("checkpoint", "export", run, "--hf", tmp_path / f"{run.name}_hf")
    same_bits(*(weights(tmp_path / f"{run.name}_hf") for run in again))


def test_a_model_of_our_own_loads_in_transformers(tmp_path):
    """Nothing of it came from a folder: transformers' tokens 1 and 2 are no special ones."""
    done = braid("train", braid_run.ROOT / CONFIG, "--out", tmp_path / "run", "--device", "cpu",
                 *sets(["data.kind=induction", "train.steps=2", "train.batch=2", "model.layers=2", "model.context=32", "train.eval_every=0"]))  # fmt: skip
    assert done.returncode == 0, done.stderr
    succeed("checkpoint", "export", tmp_path / "run", "--hf", tmp_path / "out")
    model = load(tmp_path / "out")
    ids = random_ids(model, 2, 32)
    with torch.no_grad():
        theirs = model(ids).logits
    assert (probe(tmp_path / "out", ids, tmp_path / "probe.safetensors")["logits"] - theirs).abs().max() < 1e-4
    assert model.generation_config.eos_token_id is None and model.config.max_position_embeddings == 32


@pytest.mark.parametrize("words, message", [
    (["model.layers=5"], "model.layers: expected 3, which {folder}/config.json has, found 5"),
    (['model.dialect="poc"'], 'model.dialect: expected "llama", which {folder}/config.json has, found "poc"'),
    (['model.residual="mhc"'], 'model.residual: expected "residual", which {folder}/config.json has, found "mhc"'),
    (["model.context=161"], "model.context: expected at most 160, which {folder}/config.json has, found 161"),
])  # fmt: skip
def test_a_key_that_contradicts_the_folder_is_refused_by_name(folder, config, tmp_path, words, message):
    done = braid("train", config, "--out", tmp_path / "run", *sets([f"model.path={folder}", *words]))
    assert message.format(folder=folder) in one_line(done, 2)
    assert not (tmp_path / "run").exists()


def test_export_refuses_what_transformers_has_not(tmp_path):
    done = braid("train", braid_run.ROOT / "configs/mhc/demo_mhc.toml", "--out", tmp_path / "run", "--device", "cpu",
                 *sets(["model.layers=1", "model.width=32", "model.mlp_width=32", "model.context=16", "train.batch=2", "train.steps=1"]))  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = one_line(braid("checkpoint", "export", tmp_path / "run", "--hf", tmp_path / "out"), 2)
    assert "model.dialect: expected llama" in line and not (tmp_path / "out").exists()
