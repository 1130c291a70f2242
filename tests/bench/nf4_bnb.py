# SPDX-License-Identifier: Apache-2.0
"""What nf4_bench.cpp times, by bitsandbytes and, products also, by PyTorch with the dense weight in bfloat16:
nf4_bnb.py ROWS COLUMNS SECONDS ROUND TOKENS… One JSON object."""

import json
import logging
import statistics
import sys
import time

import torch

logging.disable(logging.WARNING)
import bitsandbytes as bnb  # noqa: E402


def median_seconds(seconds, call):
    call()
    each, started = [], time.perf_counter()
    while time.perf_counter() - started < seconds or len(each) < 3:
        before = time.perf_counter()
        call()
        each.append(time.perf_counter() - before)
    return statistics.median(each)


def round_robin(calls):
    state = {"next": 0}

    def call():
        state["next"] += 1
        return calls[state["next"] % len(calls)]()

    return call


def layer_of(packed, state, training):
    """A Linear4bit with a copy of the weight. In eval mode bitsandbytes lays the weight out for its CPU kernel."""
    import copy

    rows, columns = state.shape
    layer = bnb.nn.Linear4bit(columns, rows, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4", device="meta")
    layer.weight = bnb.nn.Params4bit(packed.clone(), requires_grad=False, quant_state=copy.deepcopy(state), bnb_quantized=True,
                                     module=layer)  # fmt: skip
    return layer.train(training)


def products(half, packed, state, tokens, seconds, round_bytes):
    copies = -(-round_bytes // packed.numel())
    kinds = {"eval": [layer_of(packed, state, False) for _ in range(copies)], "train": [layer_of(packed, state, True) for _ in range(copies)]}
    dense = [half.clone() for _ in range(-(-round_bytes // (2 * half.numel())))]
    result = {}
    for layer in kinds["eval"]:  # the new layout is made in the first call
        layer(torch.zeros(1, half.shape[1], dtype=torch.bfloat16))
    for count in tokens:
        x, dy = torch.randn(count, half.shape[1]).bfloat16(), torch.randn(count, half.shape[0]).bfloat16()
        for kind, layers in kinds.items():
            result[f"{kind} {count}"] = median_seconds(seconds, round_robin([lambda layer=layer: layer(x) for layer in layers]))
        calls = [lambda layer=layer: dy @ bnb.functional.dequantize_4bit(layer.weight, layer.weight.quant_state) for layer in kinds["train"]]
        result[f"transposed {count}"] = median_seconds(seconds, round_robin(calls))
        result[f"dense {count}"] = median_seconds(seconds, round_robin([lambda w=w: torch.nn.functional.linear(x, w) for w in dense]))
        result[f"dense transposed {count}"] = median_seconds(seconds, round_robin([lambda w=w: dy @ w for w in dense]))
    return result


@torch.no_grad()
def main():
    rows, columns, seconds, round_bytes = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    tokens = [int(word) for word in sys.argv[5:]]
    full = torch.randn(rows, columns)
    half = full.bfloat16()
    quantise = bnb.functional.quantize_4bit
    result = {"quantise float32": median_seconds(seconds, lambda: quantise(full, quant_type="nf4")),
              "quantise bfloat16": median_seconds(seconds, lambda: quantise(half, quant_type="nf4")),
              "quantise nested": median_seconds(seconds, lambda: quantise(half, quant_type="nf4", compress_statistics=True))}  # fmt: skip
    packed, state = quantise(half, quant_type="nf4")
    nested = quantise(half, quant_type="nf4", compress_statistics=True)
    result["dequantise"] = median_seconds(seconds, lambda: bnb.functional.dequantize_4bit(packed, state))
    result["dequantise nested"] = median_seconds(seconds, lambda: bnb.functional.dequantize_4bit(*nested))
    print(json.dumps(result | products(half, packed, state, tokens, seconds, round_bytes)))


if __name__ == "__main__":
    main()
