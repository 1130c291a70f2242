#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trains a Llama-style decoder with plain residuals or mHC's connections (arXiv 2512.24880) in PyTorch, tensor by tensor,
from braid's configuration files and braid's first weights, and writes what each step gave.

    mhc_torch.py configs/mhc/paper_mhc.toml --set model.residual=mhc --out steps.json [--dtype bf16] [--compile]
                 [--threads 2] [--device cuda]

Of the ways to write the connection the ones that PyTorch runs fastest were taken: Sinkhorn's matrices with the tokens last,
streams mixed by small matrix products, and where it is compiled by sums, which join the passes beside them.
bf16 is autocast; the streams and what they are mixed with stay in fp32, as in braid. --compile compiles what one sublayer
does, connection included, once for attention and once for MLPs. A step's seconds are what braid's step_seconds are: from
the batch to the updated weights, with loss, gradient norm and the check for finite numbers read on the host.
"""

import argparse
import json
import pathlib
import re
import sys
import time

import torch
from torch.nn import functional as F

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from poc_torch import incrementing_batch, read_config  # noqa: E402

LOW = 0xFFFFFFFF


# --- braid's first weights: src/base/philox.h, src/nn/initialise.h ---


def philox(counter, key):
    """Philox4x32-10 of four numbers or tensors of int64 that hold 32 bits each; products wrap as in 64 unsigned bits."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = wrapped(0xD2511F53 * c[0]), wrapped(0xCD9E8D57 * c[2])
        c = [(b >> 32 & LOW) ^ c[1] ^ k[0], b & LOW, (a >> 32 & LOW) ^ c[3] ^ k[1], a & LOW]
        k = [k[0] + 0x9E3779B9 & LOW, k[1] + 0xBB67AE85 & LOW]
    return c


def wrapped(product):
    return product if isinstance(product, torch.Tensor) else product & (1 << 64) - 1


def stream_key(seed, name):
    hashed = 0xCBF29CE484222325
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x100000001B3 & (1 << 64) - 1
    mixed = philox((hashed & LOW, hashed >> 32, 1, 0), (seed & LOW, seed >> 32))
    return mixed[0] ^ mixed[2], mixed[1] ^ mixed[3]


def normal(name, shape, seed, deviation, device, piece=1 << 18):
    """Numbers of a weight, each a function of seed, name and its place; in pieces that stay in a CPU's cache."""
    key, out = stream_key(seed, name), torch.empty(shape, device=device)
    for start in range(0, out.numel(), piece if device == "cpu" else 64 * piece):
        part = out.view(-1)[start : start + (piece if device == "cpu" else 64 * piece)]
        element = torch.arange(start, start + part.numel(), device=device)
        r = philox((element & LOW, element >> 32, torch.zeros_like(element), torch.zeros_like(element)), key)
        radius = torch.sqrt(-2 * torch.log(1 - r[0].double() * 2.0**-32))
        part.copy_(deviation * radius * torch.cos(2 * torch.pi * (r[1].double() * 2.0**-32)))
    return out


def weight_shapes(model):
    D, V, mlp, heads = model["width"], model["vocabulary"], model["mlp_width"], model["heads"]
    keys = D // heads * (model.get("kv_heads", 0) or heads)
    yield "embedding.weight", (V, D)
    for i in range(model["layers"]):
        yield from ((f"blocks.{i}.{name}", shape) for name, shape in {
            "ln1.weight": (D,), "attn.in.weight": (D + 2 * keys, D), "attn.out.weight": (D, D),
            "ln2.weight": (D,), "ff1.weight": (2 * mlp, D), "ff2.weight": (D, mlp)}.items())  # fmt: skip
    yield "ln_f.weight", (D,)
    yield "head.weight", (V, D)


def first_weights(config, device):
    model, seed, weights = config["model"], config["train"].get("seed", 0), {}
    for name, shape in weight_shapes(model):
        writes = name.endswith((".attn.out.weight", ".ff2.weight"))
        deviation = 0.02 / (2 * model["layers"]) ** 0.5 if writes else 0.02
        weights[name] = torch.ones(shape, device=device) if len(shape) == 1 else normal(name, shape, seed, deviation, device)
    if model["residual"] == "mhc":
        weights |= first_connections(model, device)
    return {name: value.requires_grad_() for name, value in weights.items()}


def first_connections(model, device):
    """The start "home": each sublayer reads mostly one stream and hardly mixes."""
    S, sublayers = model["streams"], 2 * model["layers"]
    bias = torch.zeros(sublayers, 2 * S + S * S)
    bias[:, :S] = -3
    bias[torch.arange(sublayers), torch.arange(sublayers) % S] = 3
    bias[:, 2 * S :] = (6 * torch.eye(S) - 3).flatten()
    return {"mix.projection": torch.zeros(sublayers, S * model["width"], 2 * S + S * S, device=device),
            "mix.scale": torch.full((sublayers, 3), 0.01, device=device), "mix.bias": bias.to(device)}  # fmt: skip


# --- the model ---


def rotary(model, device):
    """cos and sin, [T, d]"""
    d = model["width"] // model["heads"]
    frequency = model.get("rope_theta", 10000.0) ** (-torch.arange(0, d, 2, device=device) / d)
    angle = torch.outer(torch.arange(model["context"], device=device).float(), frequency).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x, cos, sin):
    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin


def attention(x, into, out, heads, kv_heads, cos, sin):
    d = x.shape[-1] // heads
    qkv = F.linear(x, into).split([heads * d, kv_heads * d, kv_heads * d], -1)
    q, k, v = (y.unflatten(-1, (-1, d)).transpose(1, 2) for y in qkv)
    q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=kv_heads != heads)
    return F.linear(y.transpose(1, 2).flatten(2), out)


def mlp(x, into, out):
    gate, up = F.linear(x, into).chunk(2, -1)
    return F.linear(F.silu(gate) * up, out)


def sinkhorn(logits, iterations):
    """Of [B, T, S, S]: columns, then rows."""
    M = logits.permute(2, 3, 0, 1).contiguous()
    M = (M - M.amax(0, keepdim=True)).exp()
    for _ in range(iterations):
        M = M / M.sum(0, keepdim=True)
        M = M / M.sum(1, keepdim=True)
    return M.permute(2, 3, 0, 1)


def mixed_by_sums(H, X):
    return sum(H[..., t, None] * X[:, :, t, None] for t in range(X.shape[2]))


class Decoder:
    def __init__(self, config, weights, device, compiled):
        self.model, self.weights, self.angles = config["model"], weights, rotary(config["model"], device)
        self.eps = self.model.get("norm_epsilon", 1e-5)
        regional = torch.compile if compiled else lambda function: function
        self.sublayer_of_residual = regional(self.sublayer_of_residual)
        self.sublayer_of_streams = regional(self.sublayer_of_streams)
        self.coefficients = regional(self.coefficients)
        self.mixed = mixed_by_sums if compiled else torch.matmul

    def own(self, k):
        """Weights of sublayer k: norm, first and second matrix."""
        names = ("ln1", "attn.in", "attn.out") if k % 2 == 0 else ("ln2", "ff1", "ff2")
        return [self.weights[f"blocks.{k // 2}.{name}.weight"] for name in names]

    def function(self, x, is_attention, norm, into, out):
        normed = F.rms_norm(x, x.shape[-1:], norm, self.eps)
        if not is_attention:
            return mlp(normed, into, out)
        heads = self.model["heads"]
        return attention(normed, into, out, heads, self.model.get("kv_heads", 0) or heads, *self.angles)

    def sublayer_of_residual(self, h, is_attention, norm, into, out):
        return h + self.function(h, is_attention, norm, into, out)

    def coefficients(self, X, P, scale, bias):
        """X [B, T, S, D] to read m [B, T, D], write [B, T, S, 1], mix [B, T, S, S]."""
        S, v = X.shape[2], X.flatten(2)
        with torch.autocast(X.device.type, enabled=False):
            y = (v @ P) * torch.rsqrt(v.square().mean(-1, keepdim=True) + self.eps)
            read, write, mix = y.split([S, S, S * S], -1)
            w = torch.sigmoid(scale[0] * read + bias[:S])
            c = 2 * torch.sigmoid(scale[1] * write + bias[S : 2 * S])
            H = sinkhorn((scale[2] * mix + bias[2 * S :]).unflatten(-1, (S, S)), self.model.get("sinkhorn_iterations", 20))
            return torch.matmul(w[..., None, :], X).squeeze(2), c[..., None], H

    def sublayer_of_streams(self, X, m, c, H, is_attention, own, following):
        """The sublayer, its write and, where another follows, what that one reads, writes and mixes with."""
        f = self.function(m, is_attention, *own)
        with torch.autocast(X.device.type, enabled=False):
            X = self.mixed(H, X) + c * f.float()[:, :, None]
        return (X, *self.coefficients(X, *following)) if following else (X,)

    def connection(self, k):
        return [self.weights[f"mix.{name}"][k] for name in ("projection", "scale", "bias")]

    def hidden(self, h):
        count = 2 * self.model["layers"]
        if self.model["residual"] == "residual":
            for k in range(count):
                h = self.sublayer_of_residual(h, k % 2 == 0, *self.own(k))
            return h
        X = h[:, :, None].expand(-1, -1, self.model["streams"], -1).contiguous()
        state = (X, *self.coefficients(X, *self.connection(0)))
        for k in range(count):
            following = self.connection(k + 1) if k + 1 < count else None
            state = self.sublayer_of_streams(*state, k % 2 == 0, self.own(k), following)
        return state[0].sum(2)

    def loss(self, x, y):
        h = self.hidden(F.embedding(x, self.weights["embedding.weight"]))
        logits = F.linear(F.rms_norm(h, h.shape[-1:], self.weights["ln_f.weight"], self.eps), self.weights["head.weight"])
        return F.cross_entropy(logits.float().flatten(0, 1), y.flatten())


# --- training ---


def train_step(decoder, optimiser, config, options):
    x, y = (tokens.to(options.device) for tokens in incrementing_batch(config))
    optimiser.zero_grad()
    with torch.autocast(options.device, torch.bfloat16, enabled=options.dtype == "bf16"):
        loss = decoder.loss(x, y)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([w.grad for w in decoder.weights.values()])
    optimiser.step()
    return torch.stack([loss.detach(), norm]).tolist()


def peak_bytes(device):
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"^VmHWM:\s*(\d+) kB", status, re.M)[1]) * 1024


def train(config, options):
    decoder = Decoder(config, first_weights(config, options.device), options.device, options.compile)
    optim = config["optim"]
    optimiser = torch.optim.AdamW(decoder.weights.values(), lr=optim["learning_rate"], weight_decay=0.0, fused=True,
                                  betas=(optim.get("beta1", 0.9), optim.get("beta2", 0.999)))  # fmt: skip
    torch.manual_seed(config["train"].get("seed", 0))  # of the samples
    steps = []
    for _ in range(config["train"]["steps"]):
        start = time.perf_counter()
        loss, norm = train_step(decoder, optimiser, config, options)
        steps.append({"loss": loss, "grad_norm": norm, "seconds": time.perf_counter() - start})
    return steps


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    steps = train(read_config(options.config, options.set), options)
    options.out.write_text(json.dumps({"steps": steps, "peak_memory_bytes": peak_bytes(options.device)}))


if __name__ == "__main__":
    main()
