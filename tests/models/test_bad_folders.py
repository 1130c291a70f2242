# SPDX-License-Identifier: Apache-2.0
"""Model folders that are damaged or of another kind: one line that names the file and what was expected, exit code 2."""

import json
import pathlib
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cli"))
import cli_run  # noqa: E402

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": 12, "intermediate_size": 10,
          "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 11, "rms_norm_eps": 1e-5,
          "max_position_embeddings": 16}  # fmt: skip
SHAPES = {"input_layernorm": (12,), "post_attention_layernorm": (12,), "self_attn.q_proj": (12, 12), "self_attn.k_proj": (4, 12),
          "self_attn.v_proj": (4, 12), "self_attn.o_proj": (12, 12), "mlp.gate_proj": (10, 12), "mlp.up_proj": (10, 12), "mlp.down_proj": (12, 10)}  # fmt: skip


def tensors():
    shapes = {"model.embed_tokens": (11, 12), "model.norm": (12,), "lm_head": (11, 12)}
    shapes |= {f"model.layers.{i}.{name}": shape for i in range(2) for name, shape in SHAPES.items()}
    return {f"{name}.weight": torch.randn(shape, generator=torch.Generator().manual_seed(1)) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    all_tensors = tensors()
    for number, names in enumerate((list(all_tensors)[:9], list(all_tensors)[9:])):
        save_file({name: all_tensors[name] for name in names}, path / f"part-{number}.safetensors")
    index = {name: f"part-{number}.safetensors" for number in range(2) for name in load_file(path / f"part-{number}.safetensors")}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "generation_config.json").write_text('{"eos_token_id": 2}')
    return path


def generate(path):
    return cli_run.braid("generate", "--model", path, "--ids", "1,2", "--max-new-tokens", "3", "--device", "cpu")


def test_the_folder_is_good_before_it_is_damaged(whole):
    done = generate(whole)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stderr


def change_tensor(path, name, change):
    """One tensor of part-1 replaced, or removed where the change gives None."""
    all_tensors = load_file(path / "part-1.safetensors")
    changed = change(all_tensors.pop(name))
    save_file(all_tensors | ({} if changed is None else {name: changed}), path / "part-1.safetensors")


def change_text(path, name, change):
    (path / name).write_text(change((path / name).read_text()))


def rewrite(path, change):
    data = (path / "part-1.safetensors").read_bytes()
    (path / "part-1.safetensors").write_bytes(change(data))


def poison(value):
    def change(tensor):
        tensor[7] = value
        return tensor

    return change


DAMAGE = {
    "no_config": (lambda p: (p / "config.json").unlink(), "config.json: no such file"),
    "config_is_no_json": (lambda p: change_text(p, "config.json", lambda t: t[:-9]), "config.json: expected a JSON object, found text that is not valid JSON"),
    "architecture": (lambda p: change_text(p, "config.json", lambda t: t.replace("LlamaForCausalLM", "GPT2LMHeadModel")),
                     'config.json: architectures: expected ["LlamaForCausalLM"], found ["GPT2LMHeadModel"]'),
    "activation": (lambda p: change_text(p, "config.json", lambda t: t.replace("silu", "gelu")), 'config.json: hidden_act: expected "silu", found "gelu"'),
    "stop_ids": (lambda p: (p / "generation_config.json").write_text('{"eos_token_id": "end"}'), "generation_config.json: eos_token_id: expected a token id"),
    "missing_shard": (lambda p: (p / "part-1.safetensors").unlink(), "part-1.safetensors: no such file, but the index lists it"),
    "no_weights": (lambda p: (p / "model.safetensors.index.json").unlink(), "expected model.safetensors or model.safetensors.index.json, found neither"),
    "index": (lambda p: (p / "model.safetensors.index.json").write_text('{"weight_map": [1]}'), "index.json: weight_map: expected an object, found [1]"),
    "missing_tensor": (lambda p: change_tensor(p, "model.layers.1.mlp.up_proj.weight", lambda t: None),
                       "part-1.safetensors: tensor model.layers.1.mlp.up_proj.weight: expected, as the index says, found none"),
    "shape": (lambda p: change_tensor(p, "model.layers.1.mlp.up_proj.weight", lambda t: t.T.contiguous()),
              "part-1.safetensors: tensor model.layers.1.mlp.up_proj.weight: expected F32, BF16, F16 or F64 of shape [10,12], found float32 [12,10]"),
    "type": (lambda p: change_tensor(p, "model.layers.1.mlp.up_proj.weight", lambda t: t.to(torch.int8)), "of shape [10,12], found int8 [10,12]"),
    "nan": (lambda p: change_tensor(p, "model.layers.1.input_layernorm.weight", poison(torch.nan)),
            "tensor model.layers.1.input_layernorm.weight: expected finite weights, found NaN or infinity at [7]"),
    "infinity": (lambda p: change_tensor(p, "model.layers.1.input_layernorm.weight", poison(-torch.inf)), "found NaN or infinity at [7]"),
    "cut_off": (lambda p: rewrite(p, lambda data: data[:-40]), "part-1.safetensors: tensor"),
    "header_cut_off": (lambda p: rewrite(p, lambda data: data[:100]), "part-1.safetensors: not a safetensors file, or cut off"),
    "header_length_lies": (lambda p: rewrite(p, lambda data: (2**62).to_bytes(8, "little") + data[8:]), "its header would be 4611686018427387904 bytes long"),
    "empty_file": (lambda p: rewrite(p, lambda data: b""), "part-1.safetensors: 0 bytes are too few"),
    "tail": (lambda p: rewrite(p, lambda data: data + b"12345678"), "bytes after the last tensor belong to none"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_in_one_line(whole, tmp_path, name):
    path = tmp_path / "model"
    shutil.copytree(whole, path)
    damage, message = DAMAGE[name]
    damage(path)
    line = cli_run.one_line(generate(path), 2)
    assert line.startswith(f"braid: {path}") and message in line, line
    same = cli_run.one_line(cli_run.braid("checkpoint", "import", "--hf", path, "--out", tmp_path / "start"), 2)
    assert line.split(" at [")[0] == same.split(" as element ")[0]
    assert not (tmp_path / "start").exists()


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_run_is_refused_too(whole, tmp_path, ranks):
    path = tmp_path / "model"
    shutil.copytree(whole, path)
    change_tensor(path, "model.layers.1.input_layernorm.weight", poison(torch.nan))
    (tmp_path / "tune.toml").write_text('[data]\nkind = "copy"\n[train]\nsteps = 1\nbatch = 2\n')
    done = cli_run.braid("train", tmp_path / "tune.toml", "--out", tmp_path / "run", "--device", "cpu", *cli_run.sets([f"model.path={path}"]), ranks=ranks)
    assert done.returncode == 2 and "input_layernorm.weight: expected finite weights" in done.stderr, done.stderr


@pytest.mark.parametrize("words, message", [
    (["--model", "nowhere", "--ids", "1"], "nowhere: no such model folder"),
    (["--ids", "1"], "expected --model DIR or --run DIR, one of both"),
    (["--model", "{}"], "expected --prompt TEXT or --ids LIST, one of both"),
    (["--model", "{}", "--best", "--ids", "1"], "--step and --best choose a checkpoint of --run DIR"),
    (["--run", "{}", "--adapter", "x", "--ids", "1"], "--adapter and --memory go with --model; a run has its own"),
    (["--run", "{}", "--ids", "1"], "neither a checkpoint nor a run with checkpoints"),
    (["--model", "{}", "--prompt", "x"], "--tokenizer FILE: expected a file tokenizer.json"),
    (["--model", "{}", "--ids", "1,x"], "--ids 1,x: expected token ids like 1,4093,253"),
    (["--model", "{}", "--ids", "1,"], "--ids 1,: expected token ids"),
    (["--model", "{}", "--ids", "11"], "text 1: expected token ids from 0 to 10, found 11"),
    (["--model", "{}", "--ids", "1", "--max-new-tokens", "16"], "1 tokens and 16 new ones are more than the model's context of 16"),
    (["--model", "{}", "--ids", "1", "--precision", "fp8"], "--precision fp8: expected fp32 or bf16"),
    (["--model", "{}", "--ids", "1", "--temperature", "-0.5"], "--temperature -0.5: expected a number from 0"),
    (["--model", "{}", "--ids", "1", "--temperature", "warm"], "warm"),
    (["--model", "{}", "--ids", "1", "--top-k", "-1"], "--top-k -1: expected a whole number from 0"),
    (["--model", "{}", "--ids", "1", "--top-p", "1.5"], "--top-p 1.5: expected a number from 0 to 1"),
    (["--model", "{}", "--ids", "1", "--top-p", "0.5"], "--top-p: expected with --temperature above 0"),
    (["--model", "{}", "--ids", "1", "--repetition-penalty", "0"], "--repetition-penalty 0: expected a number above 0"),
    (["--model", "{}", "--ids", "1", "--frequency-penalty", "9"], "--frequency-penalty 9: expected a number from -2 to 2"),
    (["--model", "{}", "--ids", "1", "--seed", "-1"], "-1"),
    (["--model", "{}", "--ids", "1", "--n", "0"], "--answers 0: expected a whole number from 1 to 256"),
    (["--model", "{}", "--ids", "1", "--json", "--logprobs", "21"], "--logprobs 21: expected a whole number from 0 to 20"),
    (["--model", "{}", "--ids", "1", "--logprobs", "2"], "--logprobs: expected with --json"),
    (["--model", "{}", "--ids", "1", "--stop", "x"], "--stop: expected with --prompt"),
    (["--model", "{}", "--prompt", "1", "--stop", ""], "--stop: expected a text of at least one character"),
    (["--model", "{}", "--prompt", "1", "--stream", "--n", "2"], "--stream with several answers: expected with --json"),
    (["--model", "{}", "--ids", "1", "--min-new-tokens", "-1"], "--min-new-tokens: expected 0 or more"),
])  # fmt: skip
def test_wrong_use_of_generate(whole, words, message):
    assert message in cli_run.one_line(cli_run.braid("generate", *(word.format(whole) for word in words)), 2)


@pytest.mark.parametrize("words, message", [
    (["export", ".", "--hf", "x", "--out", "y"], "expected export PATH --out FILE, --hf DIR, --peft DIR or --memory DIR"),
    (["export", ".", "--out", "y", "--shard-size", "1GB"], "expected export PATH --out FILE, --hf DIR, --peft DIR or --memory DIR"),
    (["import", "x", "--hf", "y", "--out", "z"], "expected import FILE --out DIR, or import --hf DIR --out DIR"),
    (["import", "--hf", "nowhere", "--out", "z"], "nowhere: no such model folder"),
    (["inspect", ".", "--hf", "x"], "braid checkpoint inspect: takes no --hf"),
    (["export", ".", "--hf", "x", "--prefix", "y"], "--hf takes the whole model"),
])  # fmt: skip
def test_wrong_use_of_checkpoint(words, message, tmp_path):
    assert message in cli_run.one_line(cli_run.braid("checkpoint", *words, cwd=tmp_path), 2)
