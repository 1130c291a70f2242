# SPDX-License-Identifier: Apache-2.0
"""Model folders that transformers wrote, computed by Braid and by transformers: rotary angles, logits, greedy tokens."""

import json
import time

import pytest

pytest.importorskip("transformers", reason="compares with transformers: pip install transformers==5.24.0 into .deps/venv")

import torch  # noqa: E402
from hf_models import braid, edit_config, generated, greedy, load, make_folder, probe, random_ids  # noqa: E402


def rope(kind, **values):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0} | values}


LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=40)
VARIANTS = {
    "grouped": {},
    "tied": dict(tie_word_embeddings=True),
    "every_head_its_own": dict(hidden_size=64, num_attention_heads=4, num_key_value_heads=4),
    "one_key_head": dict(num_key_value_heads=1, rms_norm_eps=1e-2),
    "wider_heads": dict(head_dim=22),
    "narrower_heads": dict(head_dim=4, num_key_value_heads=9),
    "theta": rope("default", rope_theta=500000.0),
    "linear": rope("linear", factor=2.5),
    "llama3": LLAMA3,
    "yarn": YARN,
    "yarn_borders": rope("yarn", factor=2.0, original_max_position_embeddings=80, beta_fast=4.0, beta_slow=0.5, attention_factor=1.3),
    "yarn_mscale": rope("yarn", factor=16.0, original_max_position_embeddings=10, mscale=0.8, mscale_all_dim=0.4),
    "bfloat16": dict(dtype=torch.bfloat16),
    "float16": dict(dtype=torch.float16),
    "float64": dict(dtype=torch.float64),
    "shards": dict(shard="30KB"),
}


@pytest.fixture(scope="module", params=VARIANTS)
def folder(request, tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp(request.param), **VARIANTS[request.param])


def compare_logits(path, tmp_path, batch=2, tokens=150):
    model = load(path)
    ids = random_ids(model, batch, tokens)
    with torch.no_grad():
        theirs = model(ids).logits
    ours = probe(path, ids, tmp_path / "probe.safetensors")
    assert theirs.std() > 0.5  # no model whose logits are all near zero
    assert (ours["logits"] - theirs).abs().max() < 1e-4
    return model, ours


def test_logits_and_rotary_angles(folder, tmp_path):
    model, ours = compare_logits(folder, tmp_path)
    rotary, last = model.model.rotary_emb, torch.tensor([[model.config.max_position_embeddings - 1]])
    torch.testing.assert_close(ours["frequencies"].float(), rotary.inv_freq, rtol=1e-6, atol=0)
    cosine, sine = rotary(torch.zeros(1), last)
    torch.testing.assert_close(ours["cosine"].float(), cosine.flatten(), rtol=0, atol=3e-5)
    torch.testing.assert_close(ours["sine"].float(), sine.flatten(), rtol=0, atol=3e-5)


PROMPTS = [[5, 17, 80], [1], [3, 3, 96, 41, 0, 12, 7, 55, 61]]


def test_64_greedy_tokens_in_one_batch_are_those_of_each_text_alone(folder):
    model = load(folder)
    assert generated(folder, PROMPTS, 64) == [greedy(model, prompt, 64) for prompt in PROMPTS]


def test_older_spelling_of_config_json(tmp_path):
    for name, values in {"linear": dict(factor=2.5), "llama3": LLAMA3["rope_parameters"], "yarn": YARN["rope_parameters"]}.items():
        path = make_folder(tmp_path / name)
        scaling = {k: v for k, v in values.items() if k not in ("rope_type", "rope_theta")} | {"type": name}
        edit_config(path, rope_parameters=None, rope_theta=300.0, rope_scaling=scaling, dtype=None, torch_dtype="float32", head_dim=None)
        model, _ = compare_logits(path, tmp_path)
        assert model.config.rope_parameters["rope_theta"] == 300.0


def test_a_text_ends_after_any_stop_id_of_generation_config(tmp_path):
    path = make_folder(tmp_path / "model")
    free = [greedy(load(path), prompt, 64) for prompt in PROMPTS]
    generation = json.loads((path / "generation_config.json").read_text()) | {"eos_token_id": [free[0][9], free[2][20]]}
    (path / "generation_config.json").write_text(json.dumps(generation))
    stopped = [greedy(load(path), prompt, 64) for prompt in PROMPTS]
    assert len(stopped[0]) < 64 and len(stopped[2]) < 64
    assert generated(path, PROMPTS, 64) == stopped


REAL = {
    "smollm_135m": dict(vocab_size=49152, hidden_size=576, intermediate_size=1536, num_attention_heads=9, num_key_value_heads=3,
                        tie_word_embeddings=True, initializer_range=0.05),
    "llama3_8b": dict(vocab_size=512, hidden_size=4096, intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8,
                      initializer_range=0.02, **rope("default", rope_theta=500000.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_one_layer_of_real_width(name, tmp_path):
    path = make_folder(tmp_path / name, dtype=torch.bfloat16, num_hidden_layers=1, **REAL[name])
    model, _ = compare_logits(path, tmp_path, batch=1, tokens=64)
    assert generated(path, [[1, 2, 3, 4]], 64) == [greedy(model, [1, 2, 3, 4], 64)]


def test_time_of_a_token_beside_transformers(tmp_path):
    """SmolLM-135M's shape with a small vocabulary; the times are told, not judged."""
    path = make_folder(tmp_path / "model", num_hidden_layers=30, **(REAL["smollm_135m"] | dict(vocab_size=1000)))
    model, prompt = load(path), list(range(1, 17))
    start = time.perf_counter()
    first = greedy(model, prompt, 1)
    prefill = time.perf_counter() - start
    tokens = greedy(model, prompt, 33)
    theirs = (time.perf_counter() - start - 2 * prefill) / 32
    done = braid("generate", "--model", path, "--max-new-tokens", 33, "--ids", ",".join(map(str, prompt)), "--device", "cpu", "--timings")
    assert done.returncode == 0 and tokens[:1] == first
    assert [int(word) for word in done.stdout.split(",")] == tokens
    print(f"\nbraid: {done.stderr.strip()}; transformers: {1 / theirs:.2f} tokens/s")
