# SPDX-License-Identifier: Apache-2.0
"""The model of softwarewrighter/mHC-poc in PyTorch, written anew from its description: what Braid's poc dialect is held
against. `published` computes as that program does (S x S mixes per layer, an explicit mask); otherwise the same numbers
come from length-S vectors, one batched Sinkhorn and whichever form of causal attention PyTorch runs fastest."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def causal_attention(q, k, v):
    """Fused, except in bf16 on CPUs: there the fused backward takes 10 to 20 times as long as two products."""
    if q.is_cuda or q.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    t, d = q.shape[-2:]
    mask = torch.full((t, t), float("-inf"), device=q.device, dtype=q.dtype).triu(1)
    return (q * d**-0.5 @ k.transpose(-1, -2) + mask).softmax(-1).to(v.dtype) @ v


class PackedAttention(nn.Module):
    """torch's own multi-head attention: the published form with an explicit mask ("standard"), the other with its weights."""

    def __init__(self, width, heads, published):
        super().__init__()
        self.inner = nn.MultiheadAttention(width, heads, batch_first=True)
        self.published = published

    def forward(self, x):
        b, t, d = x.shape
        if self.published:
            mask = torch.full((t, t), float("-inf"), device=x.device, dtype=x.dtype).triu(1)
            return self.inner(x, x, x, attn_mask=mask, need_weights=False)[0]
        heads = self.inner.num_heads
        packed = F.linear(x, self.inner.in_proj_weight, self.inner.in_proj_bias)
        y = causal_attention(*packed.view(b, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4))
        return self.inner.out_proj(y.transpose(1, 2).reshape(b, t, d))


class SeparateAttention(nn.Module):
    """Four linear layers and causal scaled dot-product attention ("sdpa")."""

    def __init__(self, width, heads, published):
        super().__init__()
        self.heads, self.published = heads, published
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (f(x).view(b, t, self.heads, d // self.heads).transpose(1, 2) for f in (self.q, self.k, self.v))
        if self.published:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            y = causal_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, model, published):
        super().__init__()
        width, mlp_width = model["width"], model["mlp_width"]
        attention = PackedAttention if model.get("attention", "sdpa") == "standard" else SeparateAttention
        self.ln1 = nn.LayerNorm(width)
        self.attention = attention(width, model["heads"], published)
        self.ln2 = nn.LayerNorm(width)
        self.ff1 = nn.Linear(width, mlp_width)
        self.ff2 = nn.Linear(mlp_width, width)

    def forward(self, x):
        u = x + self.attention(self.ln1(x))
        return u + self.ff2(F.gelu(self.ff1(self.ln2(u))))


def sinkhorn(logits, iterations):
    """Rows, then columns; works on [S, S] and on [L, S, S]."""
    m = logits.exp()
    for _ in range(iterations):
        m = m / m.sum(-1, keepdim=True).clamp_min(1e-12)
        m = m / m.sum(-2, keepdim=True).clamp_min(1e-12)
    return m


class PocModel(nn.Module):
    def __init__(self, model, published=False):
        super().__init__()
        self.config, self.published = model, published
        width, layers, streams = model["width"], model["layers"], model.get("streams", 4)
        self.residual = model.get("residual", "residual")
        # The order of these lines is the order in which the generator is used.
        self.embedding = nn.Embedding(model["vocabulary"], width)
        self.positions = nn.Parameter(torch.randn(model["context"], width) * 0.01)
        self.blocks = nn.ModuleList(Block(model, published) for _ in range(layers))
        self.final_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, model["vocabulary"], bias=False)
        if self.residual != "residual":
            start = (torch.eye(streams) * 2 - 1).expand(layers, streams, streams)
            self.pre, self.post, self.res = (nn.Parameter(start.clone()) for _ in range(3))

    def mixing(self, logits=None):
        logits = self.res if logits is None else logits
        return logits.exp() if self.residual == "hc" else sinkhorn(logits, self.config.get("sinkhorn_iterations", 20))

    def forward(self, ids):
        h = self.embedding(ids) + self.positions[: ids.shape[1]]
        if self.residual == "residual":
            for block in self.blocks:
                h = block(h)
        else:
            h = self.published_streams(h) if self.published else self.vector_streams(h)
        return self.head(self.final_norm(h))

    def vector_streams(self, h):
        """Streams first, [S, B, T, D], so that reading and mixing are one product each."""
        streams = h.expand(self.pre.shape[-1], *h.shape)
        read, write, mix = self.pre.softmax(-1).mean(1), self.post.softmax(-1).sum(1), self.mixing()
        for layer, block in enumerate(self.blocks):
            flat = streams.reshape(len(streams), -1)
            f = block((read[layer] @ flat).view(h.shape))
            streams = (mix[layer] @ flat).view(streams.shape) + write[layer].view(-1, 1, 1, 1) * f
        return streams.mean(0)

    def published_streams(self, h):
        streams = h.unsqueeze(2).expand(-1, -1, self.pre.shape[-1], -1)
        for layer, block in enumerate(self.blocks):
            pre, post = self.pre[layer].softmax(-1), self.post[layer].softmax(-1)
            f = block(torch.einsum("st,bltd->blsd", pre, streams).mean(2))
            spread = f.unsqueeze(2).expand(-1, -1, streams.shape[2], -1)
            streams = torch.einsum("st,bltd->blsd", self.mixing(self.res[layer]), streams) + torch.einsum(
                "js,bljd->blsd", post, spread
            )
        return streams.mean(2)

    @torch.no_grad()
    def gain(self):
        """log10 of the largest entry of the product of all mixing matrices; 0 for the baseline."""
        if self.residual == "residual":
            return 0.0
        product = None
        for h in [self.mixing(logits) for logits in self.res] if self.published else self.mixing():
            product = h if product is None else h @ product
        largest = product.abs().max().item()
        return largest if math.isnan(largest) else math.log10(max(largest, 1e-12))
