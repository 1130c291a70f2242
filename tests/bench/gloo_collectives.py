#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One rank of torch.distributed doing what `braid bench collectives` does: the same sizes, samples and repeats, the same
JSON lines from rank 0. RANK, WORLD_SIZE and BENCH_RENDEZVOUS (a file that does not exist yet) say who it is.

    gloo_collectives.py --collectives all_reduce --sizes 1048576 --types fp32 --iterations 20 [--backend nccl]
"""

import argparse
import json
import os
import statistics
import sys
import time

import torch
import torch.distributed as dist

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WARM_UP_SAMPLES = 3


def repeats_of(size):
    return min(max(2**20 // max(size, 1), 1), 20)


def ping_pong(message):
    rank, first = dist.get_rank(), dist.get_rank() % 2 == 0
    partner = rank + 1 if first else rank - 1
    if partner >= dist.get_world_size():
        return
    if first:
        dist.send(message, partner)
    dist.recv(message, partner)
    if not first:
        dist.send(message, partner)


def calls(size, dtype, device):
    """name -> one call on buffers of that size, and the bytes really used."""
    ranks = dist.get_world_size()
    per_rank = max(size // dtype.itemsize // ranks, 1)
    whole, other = (torch.zeros(per_rank * ranks, dtype=dtype, device=device) for _ in range(2))
    part = other[:per_rank]
    return whole.nbytes, {
        "all_reduce": lambda: dist.all_reduce(whole),
        "all_gather": lambda: dist.all_gather_into_tensor(whole, part),
        "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, whole),
        "broadcast": lambda: dist.broadcast(whole, 0),
        "all_to_all": lambda: dist.all_to_all_single(other, whole),
        "send_receive": lambda: ping_pong(whole),
        "barrier": lambda: dist.barrier(),
    }


def synchronise(device):
    if device == "cuda":
        torch.cuda.synchronize()


def sample(call, repeats, iterations, device):
    """Seconds of each sample, those of the slowest rank."""
    seconds = []
    for number in range(-WARM_UP_SAMPLES, iterations):
        dist.barrier()
        synchronise(device)
        start = time.perf_counter()
        for _ in range(repeats):
            call()
            synchronise(device)
        if number >= 0:
            seconds.append(time.perf_counter() - start)
    slowest = torch.tensor(seconds, dtype=torch.float64, device=device)
    dist.all_reduce(slowest, dist.ReduceOp.MAX)
    return slowest.tolist()


def measure(name, type_name, size, iterations, device):
    used, known = calls(size, TYPES[type_name], device)
    repeats = repeats_of(size)
    row = {"backend": dist.get_backend(), "ranks": dist.get_world_size(), "collective": name, "type": type_name,
           "bytes": 0 if name == "barrier" else used, "repeats": repeats}  # fmt: skip
    try:
        known[name]()
    except (RuntimeError, ValueError, NotImplementedError) as problem:
        return row | {"unsupported": str(problem).splitlines()[0]}
    of_one_call = repeats * (2 if name == "send_receive" else 1)
    seconds = [total / of_one_call for total in sample(known[name], repeats, iterations, device)]
    return row | {"median_seconds": statistics.median(seconds), "lowest_seconds": min(seconds)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("collectives", "sizes", "types"):
        parser.add_argument(f"--{name}", required=True, type=lambda text: text.split(","))
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--backend", choices=["gloo", "nccl"], default="gloo")
    options = parser.parse_args()
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = "cuda" if options.backend == "nccl" else "cpu"
    if device == "cuda":
        torch.cuda.set_device(rank % torch.cuda.device_count())
    dist.init_process_group(options.backend, f"file://{os.environ['BENCH_RENDEZVOUS']}", rank=rank, world_size=world)
    for name in options.collectives:
        wanted = [("fp32", 0)] if name == "barrier" else [(t, int(s)) for t in options.types for s in options.sizes]
        for type_name, size in wanted:
            row = measure(name, type_name, size, options.iterations, device)
            if rank == 0:
                print(json.dumps(row), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # taking gloo's threads down with the interpreter now and then aborts (poc_torch.py)
