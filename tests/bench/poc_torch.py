#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the poc model in PyTorch from the same configuration files as braid, and writes what each step gave.

    poc_torch.py configs/mhc/demo_mhc.toml --out losses.json [--set train.steps=5] [--threads 2] [--dtype bf16]
                 [--simplified | --as-published] [--compile]

--as-published works tensor by tensor and layer by layer, as that program does; --simplified (the default) is what a
PyTorch user would make of it: batched Sinkhorn, length-S vectors, fused AdamW, one norm. bf16 is autocast.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys
import time
import tomllib

import torch
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from poc_model import PocModel  # noqa: E402


def read_config(path, overrides):
    config = tomllib.loads(pathlib.Path(path).read_text())
    for assignment in overrides:
        key, value = assignment.split("=", 1)
        table, name = key.split(".")
        try:
            config.setdefault(table, {})[name] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            config.setdefault(table, {})[name] = value
    return config


def incrementing_batch(config):
    model = config["model"]
    starts = torch.randint(0, model["vocabulary"], (config["train"]["batch"],))
    sequence = (starts[:, None] + torch.arange(model["context"] + 1)) % model["vocabulary"]
    return sequence[:, :-1], sequence[:, 1:]


def build(config, published, dtype="fp32"):
    """The weights are drawn in fp32 whatever the type."""
    torch.manual_seed(config["train"].get("seed", 0))
    model = PocModel(config["model"], published)
    if dtype == "fp64":
        model.double()
    optim = config["optim"]
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=optim["learning_rate"], weight_decay=optim.get("weight_decay", 0.0), fused=not published
    )
    return model, optimiser


def gradient_norm(model):
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if model.published:
        return math.sqrt(sum(g.norm().item() ** 2 for g in gradients))
    return torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])).item()


def train_step(model, forward, optimiser, config, dtype):
    x, y = incrementing_batch(config)
    optimiser.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
        logits = forward(x)
        wide = logits if dtype == "fp64" else logits.float()
        loss = F.cross_entropy(wide.view(-1, logits.shape[-1]), y.reshape(-1))
    loss.backward()
    bad = not bool(torch.isfinite(loss)) or not bool(torch.isfinite(logits).all())
    norm = gradient_norm(model)
    optimiser.step()
    return {"loss": loss.item(), "grad_norm": norm, "gain": model.gain(), "nonfinite": bad}


def train(config, published=False, dtype="fp32", compiled=False):
    model, optimiser = build(config, published, dtype)
    forward = torch.compile(model) if compiled else model
    steps = []
    for _ in range(config["train"]["steps"]):
        start = time.perf_counter()
        row = train_step(model, forward, optimiser, config, dtype)
        steps.append(row | {"seconds": time.perf_counter() - start})
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--out")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp64"], default="fp32")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--as-published", dest="published", action="store_true")
    form.add_argument("--simplified", dest="published", action="store_false")
    parser.set_defaults(published=False)
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    steps = train(read_config(options.config, options.set), options.published, options.dtype, options.compile)
    if options.out:
        rate = 1 / statistics.median(row["seconds"] for row in steps)  # the first step of --compile takes a minute
        pathlib.Path(options.out).write_text(json.dumps({"steps_per_second": rate, "steps": steps}))
    for i, row in enumerate(steps):
        print(f"{i:4d} loss {row['loss']:.6f} norm {row['grad_norm']:.6f} gain {row['gain']:.6f} {row['seconds']:.3f} s")


if __name__ == "__main__":
    main()
