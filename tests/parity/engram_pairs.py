# SPDX-License-Identifier: Apache-2.0
"""A small model folder with a tokenizer and six pairs of prompt and answer, and runs of Engram's configurations on them."""

import json
import shutil

import braid_run
import tokenizers
from hf_models import braid, make_folder

TOKENIZER = braid_run.ROOT / "tests/text/data/smol.json"
PAIRS = [("Q: Port of HTTPS?\nA:", " 443"), ("Fix: if x = 5:", " if x == 5:"), ("for i in ", "range(10):\n    print(i)"),
         ("2024-01-05 ->", " January 5, 2024"), ("Q: Capital of Peru?\nA:", " Lima"), ("with open(path) as ", "f:")]  # fmt: skip
SETS = ["model.context=48", "train.steps=20", "train.batch=6", "optim.learning_rate=0.01", "optim.warmup_steps=0",
        "train.eval_every=10", "train.eval_samples=6", "train.log_every=100"]  # fmt: skip


def make_places(root):
    """`model` and `data` in a folder, which is returned."""
    vocabulary = tokenizers.Tokenizer.from_file(str(TOKENIZER)).get_vocab_size()
    make_folder(root / "model", vocab_size=vocabulary, eos_token_id=0, initializer_range=0.05)
    shutil.copy(TOKENIZER, root / "model" / "tokenizer.json")
    (root / "data").mkdir()
    for name in ("train", "valid", "test"):
        lines = [{"messages": [{"role": "user", "content": p}, {"role": "assistant", "content": a}], "category": p[:3]} for p, a in PAIRS]
        (root / "data" / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def train(config, places, out, *overrides, ranks=0):
    """braid train with a configuration of configs/engram; later assignments beat earlier ones."""
    sets = [*SETS, f"model.path={places / 'model'}", f"data.path={places / 'data'}", *overrides]
    words = [word for assignment in sets for word in ("--set", assignment)]
    done = braid("train", braid_run.ROOT / "configs/engram" / config, "--out", out, "--device", "cpu", *words, ranks=ranks, timeout=300)
    assert done.returncode == 0, done.stderr
