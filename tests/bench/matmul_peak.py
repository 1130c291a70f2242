#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What this machine's matrix product reaches: the best of several products of two n x n matrices, as JSON GFLOP/s by n.

On CPUs the faster of torch.mm (MKL) and oneDNN, which PyTorch holds as well: MKL stays low on other makers' processors.

    matmul_peak.py --dtype bf16 --threads 2 [--device cuda] [--sizes 1024,2048,4096] [--seconds 3]
"""

import argparse
import json
import time

import torch


def best_gflops(size, dtype, device, seconds):
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty(size, size, dtype=dtype, device=device)
    products = [lambda: torch.mm(a, b, out=out)]
    if device == "cpu":
        products.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], None))
    best = min(shortest(product, device, seconds / len(products)) for product in products)
    return 2 * size**3 / best / 1e9


def shortest(product, device, seconds):
    """Seconds of the fastest of several calls."""
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < seconds or best == float("inf"):
        if device == "cuda":
            torch.cuda.synchronize()
        before = time.perf_counter()
        product()
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sizes", default="1024,2048,4096")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[options.dtype]
    sizes = [int(size) for size in options.sizes.split(",")]
    print(json.dumps({size: best_gflops(size, dtype, options.device, options.seconds) for size in sizes}))


if __name__ == "__main__":
    main()
