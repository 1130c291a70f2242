# SPDX-License-Identifier: Apache-2.0
"""A Llama-style decoder in plain PyTorch: RMSNorm, rotary positions in Hugging Face's rotate-half layout, SwiGLU,
grouped-query attention, no biases. Takes its weights by braid's names; gradients come from PyTorch's autograd."""

import torch
from torch.nn import functional as F


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def rotate(x, theta):
    """x [B, H, T, d]"""
    d, t = x.shape[-1], x.shape[-2]
    frequency = theta ** (-torch.arange(0, d, 2, dtype=x.dtype) / d)
    angle = torch.outer(torch.arange(t, dtype=x.dtype), frequency)
    angle = torch.cat([angle, angle], -1)
    half = torch.cat([-x[..., d // 2 :], x[..., : d // 2]], -1)
    return x * angle.cos() + half * angle.sin()


def attention(x, weights, prefix, heads, kv_heads, theta):
    b, t, width = x.shape
    d = width // heads
    q, k, v = (x @ weights[prefix + ".in.weight"].T).split([heads * d, kv_heads * d, kv_heads * d], -1)
    q, k, v = (y.view(b, t, -1, d).transpose(1, 2) for y in (q, k, v))
    q, k = rotate(q, theta), rotate(k, theta)
    k, v = (y.repeat_interleave(heads // kv_heads, 1) for y in (k, v))
    scores = q @ k.transpose(-1, -2) / d**0.5
    scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
    y = scores.softmax(-1) @ v
    return y.transpose(1, 2).reshape(b, t, width) @ weights[prefix + ".out.weight"].T


def llama_block(h, weights, layer, model):
    eps, theta, name = model.get("norm_epsilon", 1e-5), model.get("rope_theta", 10000.0), f"blocks.{layer}"
    kv_heads = model.get("kv_heads", 0) or model["heads"]
    h = h + attention(rms_norm(h, weights[name + ".ln1.weight"], eps), weights, name + ".attn", model["heads"], kv_heads, theta)
    gate, up = (rms_norm(h, weights[name + ".ln2.weight"], eps) @ weights[name + ".ff1.weight"].T).chunk(2, -1)
    return h + (F.silu(gate) * up) @ weights[name + ".ff2.weight"].T


def llama_logits(weights, ids, model):
    h = weights["embedding.weight"][ids]
    for layer in range(model["layers"]):
        h = llama_block(h, weights, layer, model)
    return llama_head(h, weights, model)


def llama_head(h, weights, model):
    head = weights["embedding.weight" if model.get("tie_embeddings") else "head.weight"]
    return rms_norm(h, weights["ln_f.weight"], model.get("norm_epsilon", 1e-5)) @ head.T
