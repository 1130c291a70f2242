# SPDX-License-Identifier: Apache-2.0
"""Engram experiments that braid itself made, small enough for a test: a random model, eight prompts, seconds of training."""

import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
from safetensors.numpy import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
BRAID = os.path.join(os.environ.get("BRAID_BUILD", ROOT / "build"), "braid")
TOKENIZER = ROOT / "tests/text/data/smol.json"
ENVIRONMENT = dict(os.environ, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", OMPI_ALLOW_RUN_AS_ROOT="1",
                   OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")  # fmt: skip
TRAINED = [("Q: Port of HTTPS?\nA:", " 443", "networking"), ("Fix: if x = 5:", " if x == 5:", "typo"),
           ("for i in ", "range(10):\n    print(i)", "loop"), ("2024-01-05 ->", " January 5, 2024", "date <$a$>"),
           ("Tell me: Q: Capital of Peru?\nA:", " Lima", "geography"), ("with open(path) as ", "f:", "loop")]  # fmt: skip
NEW = [("Q: Capital of Peru?\nA:", " Lima", "geography"), ("Q: Capital of Chad?\nA:", " N'Djamena <&>", "geography")]
SETS = ["model.context=48", "train.batch=6", "optim.learning_rate=0.01", "optim.warmup_steps=0", "train.eval_every=25",
        "train.eval_samples=6", "train.log_every=1000", "checkpoint.every=0"]  # fmt: skip
WIDTH, MLP, HEADS, KV_HEADS, LAYERS = 72, 88, 9, 3, 3


def braid(*arguments):
    done = subprocess.run([BRAID, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_data(folder):
    folder.mkdir()
    for name, examples in (("train", TRAINED), ("valid", TRAINED), ("test", TRAINED + NEW)):
        lines = [{"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], "category": category}
                 for prompt, answer, category in examples]  # fmt: skip
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def shapes(vocabulary):
    """Name → shape of the weights of one model folder."""
    kv = KV_HEADS * WIDTH // HEADS
    block = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (kv, WIDTH), "self_attn.v_proj": (kv, WIDTH),
             "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (MLP, WIDTH), "mlp.up_proj": (MLP, WIDTH),
             "mlp.down_proj": (WIDTH, MLP), "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}  # fmt: skip
    found = {f"model.layers.{layer}.{name}.weight": shape for layer in range(LAYERS) for name, shape in block.items()}
    ends = {"model.embed_tokens": (vocabulary, WIDTH), "model.norm": (WIDTH,), "lm_head": (vocabulary, WIDTH)}
    return found | {f"{name}.weight": shape for name, shape in ends.items()}


def write_model(folder):
    """A Hugging Face Llama of random weights, with a tokenizer."""
    folder.mkdir()
    vocabulary = len(json.loads(TOKENIZER.read_text())["model"]["vocab"])
    random = np.random.default_rng(0)
    weights = {name: (0.05 * random.standard_normal(shape) if len(shape) > 1 else np.ones(shape)).astype(np.float32)
               for name, shape in shapes(vocabulary).items()}  # fmt: skip
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocabulary, "hidden_size": WIDTH,
              "intermediate_size": MLP, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
              "max_position_embeddings": 160, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "hidden_act": "silu",
              "bos_token_id": 1, "eos_token_id": 0, "torch_dtype": "float32", "rope_theta": 10000.0}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(TOKENIZER, folder / "tokenizer.json")


def experiment(root, protocol, out, *assignments):
    """out/run and out/engram.h5, with the model and the data in root; what the evaluation printed."""
    sets = [*SETS, f"model.path={root / 'model'}", f"data.path={root / 'data'}", *assignments]
    words = [word for assignment in sets for word in ("--set", assignment)]
    braid("train", ROOT / f"configs/engram/{protocol}.toml", "--out", out / "run", "--device", "cpu", *words)
    braid("checkpoint", "export", out / "run", "--peft", out / "adapter")
    return braid("eval", "engram", "--model", root / "model", "--adapter", out / "adapter", "--data", root / "data",
                 "--out", out / "engram.h5", "--max-new-tokens", 16, "--device", "cpu")  # fmt: skip
