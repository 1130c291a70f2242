#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Greedy answers with transformers (and bitsandbytes), timed token by token as braid bench decode does it.

    decode_transformers.py --model DIR --prompt 1,2,3 --tokens 32 --streams 1 --rounds 3 [--dtype bf16] [--quantise nf4]
                           [--threads 2] [--device cuda]

One JSON object a round: first_token_seconds, between_tokens_seconds (the median), tokens_per_second, ids of stream 0.
"""

import argparse
import json
import statistics
import time

import torch
from transformers_model import TYPES, load


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", required=True)
    for name in ("tokens", "streams", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dtype", choices=TYPES, default="fp32")
    parser.add_argument("--quantise", choices=["none", "nf4"], default="none")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


@torch.inference_mode()
def answer(model, prompt, tokens):
    seconds, ids, past, given = [], [], None, prompt
    for _ in range(tokens):
        start = time.perf_counter()
        out = model(input_ids=given, past_key_values=past, use_cache=True, logits_to_keep=1)
        past, given = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
        ids.append(given[0].item())  # waits for the device
        seconds.append(time.perf_counter() - start)
    step = statistics.median(seconds[1:])
    return {"first_token_seconds": seconds[0], "between_tokens_seconds": step, "tokens_per_second": len(prompt) / step, "ids": ids}


def main():
    options = parse()
    torch.set_num_threads(options.threads)
    model = load(options).eval()
    prompt = torch.tensor([[int(word) for word in options.prompt.split(",")]] * options.streams, device=options.device)
    answer(model, prompt, 2)  # the first call repacks weights and chooses kernels
    for _ in range(options.rounds):
        print(json.dumps(answer(model, prompt, options.tokens)), flush=True)


if __name__ == "__main__":
    main()
