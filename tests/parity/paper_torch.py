# SPDX-License-Identifier: Apache-2.0
"""HC (arXiv 2409.19606) and mHC (arXiv 2512.24880; exact form arXiv 2601.05732) written down as their papers have them, in
plain PyTorch, one sublayer at a time: norms are applied before projections, read vectors, write vectors and mixing matrices
are matrices of their own. Takes weights by braid's names."""

import itertools

import torch
from llama_torch import attention, rms_norm
from torch.nn import functional as F


def sinkhorn(logits, iterations):
    """Equation 9 of the mHC paper: columns, then rows."""
    M = logits.exp()
    for _ in range(iterations):
        M = M / M.sum(-2, keepdim=True)
        M = M / M.sum(-1, keepdim=True)
    return M


def permutations(logits, n):
    mixed = torch.zeros(*logits.shape[:-1], n, n, dtype=logits.dtype)
    for weight, p in zip(logits.softmax(-1).unbind(-1), itertools.permutations(range(n)), strict=True):
        mixed = mixed + weight[..., None, None] * torch.eye(n, dtype=logits.dtype)[list(p)]
    return mixed


def mhc(x, weights, k, model):
    """x [B, T, n, C] to H_pre [B, T, 1, n], H_post [B, T, 1, n], H_res [B, T, n, n] of sublayer k."""
    n = x.shape[2]
    phi, scale, b = weights["mix.projection"][k], weights["mix.scale"][k][0], weights["mix.bias"][k][0]
    v = rms_norm(x.flatten(2), 1.0, model.get("norm_epsilon", 1e-5))
    phi_pre, phi_post, phi_res = phi[:, :n], phi[:, n : 2 * n], phi[:, 2 * n :]
    pre = torch.sigmoid(scale[0] * (v @ phi_pre) + b[:n])
    post = 2 * torch.sigmoid(scale[1] * (v @ phi_post) + b[n : 2 * n])
    raw = scale[2] * (v @ phi_res) + b[2 * n :]
    exact = model.get("manifold") == "permutations"
    res = permutations(raw, n) if exact else sinkhorn(raw.unflatten(-1, (n, n)), model.get("sinkhorn_iterations", 20))
    return pre[..., None, :], post[..., None, :], res


def hc(x, weights, k, model):
    """The same of HC: A_m', B, A_r'."""
    W, scale, static = weights["mix.projection"][k], weights["mix.scale"][k][0], weights["mix.bias"][k]
    normed = rms_norm(x, 1.0, model.get("norm_epsilon", 1e-5))
    A_m = static[:, 0] + scale[0] * torch.tanh(normed @ W[:, 0])
    B = static[:, 1] + scale[1] * torch.tanh(normed @ W[:, 1])
    A_r = static[:, 2:] + scale[0] * torch.tanh(normed @ W[:, 2:])
    return A_m[..., None, :], B[..., None, :], A_r.transpose(-1, -2)


def layer_norm(x, weights, name, model):
    return F.layer_norm(x, x.shape[-1:], weights[name + ".weight"], weights[name + ".bias"], model.get("norm_epsilon", 1e-5))


def poc_attention(x, weights, prefix, heads):
    shape = (*x.shape[:2], heads, -1)
    q, k, v = F.linear(x, weights[prefix + ".in.weight"], weights[prefix + ".in.bias"]).chunk(3, -1)
    y = F.scaled_dot_product_attention(*(y.view(shape).transpose(1, 2) for y in (q, k, v)), is_causal=True)
    return F.linear(y.transpose(1, 2).flatten(2), weights[prefix + ".out.weight"], weights[prefix + ".out.bias"])


def sublayer(x, weights, k, model):
    """F of sublayer k: norm and attention (even), norm and MLP (odd), no skip."""
    name, eps, llama = f"blocks.{k // 2}", model.get("norm_epsilon", 1e-5), model["dialect"] == "llama"
    norm = (lambda n: rms_norm(x, weights[n + ".weight"], eps)) if llama else lambda n: layer_norm(x, weights, n, model)
    if k % 2 == 0 and llama:
        return attention(norm(name + ".ln1"), weights, name + ".attn", model["heads"], model["kv_heads"], 10000.0)
    if k % 2 == 0:
        return poc_attention(norm(name + ".ln1"), weights, name + ".attn", model["heads"])
    if llama:
        gate, up = (norm(name + ".ln2") @ weights[name + ".ff1.weight"].T).chunk(2, -1)
        return (F.silu(gate) * up) @ weights[name + ".ff2.weight"].T
    inner = F.gelu(F.linear(norm(name + ".ln2"), weights[name + ".ff1.weight"], weights[name + ".ff1.bias"]))
    return F.linear(inner, weights[name + ".ff2.weight"], weights[name + ".ff2.bias"])


def leave(x, weights, model):
    if model.get("stream_exit") == "learned":
        v = rms_norm(x.flatten(2), 1.0, model.get("norm_epsilon", 1e-5))
        gates = weights["mix.exit.scale"][0] * (v @ weights["mix.exit.projection"][0]) + weights["mix.exit.bias"][0]
        return (torch.sigmoid(gates)[..., None] * x).sum(2)
    return x.mean(2) if model.get("stream_exit") == "mean" else x.sum(2)


def bf16(x):
    return x.bfloat16().to(x.dtype)


class Stored(torch.autograd.Function):
    """Rounded to bf16 on its way there, on its way back, or both."""

    @staticmethod
    def forward(ctx, x, there, back):
        ctx.back = back
        return bf16(x) if there else x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return bf16(gradient) if ctx.back else gradient, None, None


def logits(weights, ids, model, narrow_streams=False):
    """With narrow_streams what connections read and write in memory is rounded to bf16, as mHC's paper (section 4.3.1) has it: streams,
    what sublayers read and give, and their gradients. A stream's own gradient is a sum of what is read again and what was not stored."""
    stored = (lambda x, there=True, back=True: Stored.apply(x, there, back)) if narrow_streams else lambda x, there=True, back=True: x
    x = weights["embedding.weight"][ids]
    if model["dialect"] == "poc":
        x = x + weights["positions"][: ids.shape[1]]
    x = stored(stored(x)[:, :, None].expand(-1, -1, model["streams"], -1), there=False)
    for k in range(2 * model["layers"]):
        pre, post, res = (mhc if model["residual"] == "mhc" else hc)(x, weights, k, model)
        f = stored(sublayer(stored(pre @ x)[:, :, 0], weights, k, model))
        x = stored(res @ stored(x, there=False) + post.transpose(-1, -2) @ f[:, :, None], back=False)
    h = leave(stored(x, there=False), weights, model)
    llama = model["dialect"] == "llama"
    normed = rms_norm(h, weights["ln_f.weight"], model.get("norm_epsilon", 1e-5)) if llama else layer_norm(h, weights, "ln_f", model)
    return normed @ weights["head.weight"].T
