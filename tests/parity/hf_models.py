# SPDX-License-Identifier: Apache-2.0
"""Model folders as transformers writes them, and what Braid and transformers compute with them."""

import json
import os
import subprocess
import sys

import braid_run
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(braid_run.ROOT / "tests" / "cli"))
from cli_run import braid, one_line, sets  # noqa: E402, F401

PROBE = os.path.join(os.path.dirname(braid_run.BRAID), "tests", "hf_probe")
torch.set_num_threads(1)

# A sharp random model: with transformers' own deviation of 0.02 the likeliest tokens would differ by less than rounding.
TINY = dict(vocab_size=97, hidden_size=72, intermediate_size=88, num_hidden_layers=3, num_attention_heads=9, num_key_value_heads=3,
            max_position_embeddings=160, initializer_range=0.15, rms_norm_eps=1e-5, tie_word_embeddings=False,
            bos_token_id=1, eos_token_id=None)  # fmt: skip


def make_folder(path, seed=0, dtype=torch.float32, shard="5GB", **changes):
    """A folder of random weights, norms too."""
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**(TINY | changes)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.normal_(1.0, 0.3)
    model.to(dtype).save_pretrained(path, max_shard_size=shard)
    return path


def edit_config(path, **changes):
    """Fields of config.json set; None removes one."""
    config = json.loads((path / "config.json").read_text())
    for name, value in changes.items():
        config.pop(name, None) if value is None else config.update({name: value})
    (path / "config.json").write_text(json.dumps(config))


def load(path):
    """In float32, whatever the files hold."""
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


def random_ids(model, batch, tokens, seed=7):
    return torch.randint(0, model.config.vocab_size, (batch, tokens), generator=torch.Generator().manual_seed(seed))


def words(rows):
    return [word for row in rows for word in ("--ids", ",".join(map(str, row)))]


def probe(path, ids, out, *options):
    """What Braid computes: logits, frequencies, cosine, sine."""
    assert os.access(PROBE, os.X_OK), f"{PROBE} is missing: build target hf_probe, set BRAID_BUILD to the build folder"
    command = [PROBE, "--model", str(path), "--out", str(out), *words(ids.tolist()), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return load_file(out)


def generated(path, prompts, count, *options):
    """Braid's new ids for each prompt, all in one batch."""
    done = braid("generate", "--model", path, "--max-new-tokens", count, "--device", "cpu", "--temperature", 0, *words(prompts), *options,
                 timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [[int(word) for word in line.split(",")] for line in done.stdout.splitlines()]


def greedy(model, prompt, count):
    """The new ids of transformers' own greedy search for one prompt."""
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count, pad_token_id=0)
    return out[0, len(prompt) :].tolist()
