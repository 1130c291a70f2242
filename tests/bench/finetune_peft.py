#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains adapters with transformers and peft (and bitsandbytes) on the windows of a token shard; what each step gave.

    finetune_peft.py --model DIR --shard train.h5 --batch 4 --context 128 --rank 8 --steps 6 --out steps.json
                     [--dtype bf16] [--quantise nf4] [--recompute] [--compile] [--threads 2] [--device cuda]

As their manuals have it: float32 adapters on a model in the chosen type (bf16: under autocast), for NF4 after
prepare_model_for_kbit_training, AdamW of PyTorch, gradients clipped to 1. A step's seconds go from the batch to the
updated weights with loss and gradient norm read on the host.
"""

import argparse
import json
import pathlib
import re
import time

import h5py
import torch
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers_model import TYPES, load

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--shard", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    for name in ("batch", "context", "rank", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--dtype", choices=TYPES, default="fp32")
    parser.add_argument("--quantise", choices=["none", "nf4"], default="none")
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def build(options):
    model = load(options)
    if options.quantise == "nf4":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=options.recompute)
    if options.recompute and options.quantise == "none":
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    model.config.use_cache = False
    torch.manual_seed(0)
    model = get_peft_model(model, LoraConfig(r=options.rank, lora_alpha=16, lora_dropout=0.0, target_modules=MODULES, task_type="CAUSAL_LM"))
    return torch.compile(model) if options.compile else model


def windows(options):
    """All windows that training has, which is one batch."""
    with h5py.File(options.shard, "r") as file:
        tokens = torch.from_numpy(file["tokens"][:].astype("int64"))
    starts = range(0, options.batch * options.context, options.context)
    rows = torch.stack([tokens[i : i + options.context + 1] for i in starts]).to(options.device)
    return rows[:, :-1], rows[:, 1:]


def step(model, parameters, optimiser, batch, options):
    inputs, targets = batch
    with torch.autocast(options.device, dtype=torch.bfloat16, enabled=options.dtype == "bf16"):
        logits = model(input_ids=inputs).logits
    loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return loss.item(), norm.item()


def peak_bytes(device):
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = pathlib.Path("/proc/self/status").read_text()  # getrusage counts the parent from before exec, too
    return int(re.search(r"^VmHWM:\s*(\d+) kB", status, re.M)[1]) * 1024


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    before = peak_bytes(options.device)
    model = build(options)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=options.rate, weight_decay=0.0, fused=True)
    batch, steps = windows(options), []
    for _ in range(options.steps):
        begin = time.perf_counter()
        loss, norm = step(model, parameters, optimiser, batch, options)
        steps.append({"loss": loss, "grad_norm": norm, "seconds": time.perf_counter() - begin})
    options.out.write_text(json.dumps({"steps": steps, "peak_memory_bytes": peak_bytes(options.device), "memory_before_bytes": before,
                                       "parameters_trainable": sum(p.numel() for p in parameters)}))  # fmt: skip


if __name__ == "__main__":
    main()
