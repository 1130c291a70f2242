#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains the poc model in PyTorch from the same configuration files as braid, and writes what each step gave.

    poc_torch.py configs/mhc/demo_mhc.toml --out losses.json [--set train.steps=5] [--threads 2] [--dtype bf16]
                 [--simplified | --as-published] [--compile] [--fsdp] [--device cuda]

--as-published works tensor by tensor and layer by layer, as that program does; --simplified (the default) is what a
PyTorch user would make of it: batched Sinkhorn, length-S vectors, causal attention, fused AdamW, one read of all numbers.
bf16 is autocast. With RANK, WORLD_SIZE and BENCH_RENDEZVOUS (a file that does not exist yet) set, as one rank of
DistributedDataParallel over gloo or NCCL, or with --fsdp as one of FSDP2 (fully_shard of each block and of the whole); ranks
then share each batch.

A step's seconds are what braid's step_seconds are: from the batch to the updated weights, loss, gradient norm and
the check for finite numbers read on the host; the gain is computed afterwards. On GPUs that read is the step's only
synchronisation, in both programs.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import resource
import statistics
import sys
import time
import tomllib

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

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


def ranks():
    return dist.get_world_size() if dist.is_initialized() else 1


def incrementing_batch(config):
    """This rank's share; every rank draws all of it, on the CPU."""
    model = config["model"]
    starts = torch.randint(0, model["vocabulary"], (config["train"]["batch"],))
    if ranks() > 1:
        starts = starts.chunk(ranks())[dist.get_rank()]
    sequence = (starts[:, None] + torch.arange(model["context"] + 1)) % model["vocabulary"]
    return sequence[:, :-1], sequence[:, 1:]


def build(config, published, dtype="fp32", device="cpu"):
    """The weights are drawn in fp32 on the CPU whatever the type and device."""
    torch.manual_seed(config["train"].get("seed", 0))
    model = PocModel(config["model"], published)
    if dtype == "fp64":
        model.double()
    model.to(device)
    return model, optimiser_of(model, config)


def optimiser_of(model, config):
    optim = config["optim"]
    return torch.optim.AdamW(
        model.parameters(), lr=optim["learning_rate"], weight_decay=optim.get("weight_decay", 0.0), fused=not model.published
    )


def forward_and_loss(model, x, y):
    logits = model(x)
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide.view(-1, logits.shape[-1]), y.reshape(-1)), logits


def read_numbers(model, loss, logits):
    """loss (over all ranks), gradient norm, whether all is finite; one read of the device unless published."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    if ranks() > 1:
        loss = loss.detach().clone()
        dist.all_reduce(loss)
        loss /= ranks()
    if model.published:
        finite = bool(torch.isfinite(loss)) and bool(torch.isfinite(logits).all())
        return loss.item(), math.sqrt(sum(g.norm().item() ** 2 for g in gradients)), finite
    norm = torch.nn.utils.get_total_norm(gradients)
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of all parts, where each rank has some
    finite = torch.isfinite(logits).all() & torch.isfinite(loss)
    values = torch.stack([loss.detach().double(), norm.double(), finite.double()]).tolist()
    return values[0], values[1], values[2] > 0


def train_step(model, forward, optimiser, config, dtype):
    device = model.positions.device
    x, y = (tokens.to(device) for tokens in incrementing_batch(config))
    optimiser.zero_grad()
    with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bf16"):
        loss, logits = forward(x, y)
    loss.backward()
    loss, norm, finite = read_numbers(model, loss, logits)
    optimiser.step()
    return {"loss": loss, "grad_norm": norm, "nonfinite": not finite}


class WithLoss(torch.nn.Module):
    """Model and loss as one module, which DistributedDataParallel and torch.compile can wrap."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, y):
        return forward_and_loss(self.model, x, y)


def fully_sharded(forward, dtype, device):
    """Parameters, gradients and the optimiser's state in parts, gathered block by block (ZeRO-3). In bf16 that is gathered."""
    narrow = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    options = {"mesh": init_device_mesh(device, (ranks(),))} | ({"mp_policy": narrow} if dtype == "bf16" else {})
    for block in forward.model.blocks:
        fully_shard(block, **options)
    return fully_shard(forward, **options)


def wrapped(model, compiled, compile_mode=None, sharded=False, dtype="fp32", device="cpu"):
    forward = WithLoss(model)
    if sharded:
        return fully_sharded(forward, dtype, device)
    if ranks() > 1:
        forward = DistributedDataParallel(forward, gradient_as_bucket_view=True)
    return torch.compile(forward, mode=compile_mode) if compiled else forward


def train(config, published=False, dtype="fp32", compiled=False, compile_mode=None, device="cpu", sharded=False):
    model, optimiser = build(config, published, dtype, device)
    forward = wrapped(model, compiled, compile_mode, sharded, dtype, device)
    if sharded:
        optimiser = optimiser_of(model, config)
    steps = []
    for _ in range(config["train"]["steps"]):
        start = time.perf_counter()
        row = train_step(model, forward, optimiser, config, dtype)
        row["seconds"] = time.perf_counter() - start
        steps.append(row | {"gain": math.nan if sharded else model.gain()})
    return steps


def peak_bytes(device):
    return torch.cuda.max_memory_allocated() if device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def rank_of_a_group(device):
    """Joins the other ranks where the environment names some."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, f"file://{os.environ['BENCH_RENDEZVOUS']}", rank=rank, world_size=world)
    yield
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--out")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--dtype", choices=["fp32", "bf16", "fp64"], default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--as-published", dest="published", action="store_true")
    form.add_argument("--simplified", dest="published", action="store_false")
    parser.set_defaults(published=False)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--fsdp", action="store_true", help="over several ranks: FSDP2 instead of DistributedDataParallel")
    parser.add_argument("--compile-mode", help="what torch.compile calls so; reduce-overhead uses CUDA graphs")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    with rank_of_a_group(options.device):
        steps = train(read_config(options.config, options.set), options.published, options.dtype, options.compile,
                      options.compile_mode, options.device, options.fsdp)  # fmt: skip
        speaks = ranks() == 1 or dist.get_rank() == 0
    if not speaks:
        return
    if options.out:
        rate = 1 / statistics.median(row["seconds"] for row in steps)
        pathlib.Path(options.out).write_text(json.dumps({"steps_per_second": rate, "steps": steps,
                                                         "peak_memory_bytes": peak_bytes(options.device)}))  # fmt: skip
    for i, row in enumerate(steps):
        print(f"{i:4d} loss {row['loss']:.6f} norm {row['grad_norm']:.6f} gain {row['gain']:.6f} {row['seconds']:.3f} s")


if __name__ == "__main__":
    main()
    if "RANK" in os.environ:
        # PyTorch 2.11 with gloo now and then ends in "terminate called without an active exception" when its threads
        # are taken down with the interpreter; all is written by now.
        sys.stdout.flush()
        os._exit(0)
