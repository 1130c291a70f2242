# SPDX-License-Identifier: Apache-2.0
"""Hash memory (Engram, arXiv 2601.07372) in PyTorch, written after the paper's formulas: a table for each head, convolution by
conv1d, hashes in Python's own numbers. What Braid's is held against."""

import json

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

PARTS = ("key", "query_norm", "key_norm", "value_norm")  # of a stream, with the convolution


def primes_from(number):
    while True:
        if number > 1 and all(number % d for d in range(2, int(number**0.5) + 1)):
            yield number
        number += 1


class Memory(torch.nn.Module):
    """`streams` 0: of a plain residual, which is one stream under shorter names."""

    def __init__(self, form, width, vocabulary, epsilon=1e-5, streams=0, seed=1):
        super().__init__()
        self.form, self.width, self.vocabulary, self.streams = form, width, vocabulary, streams
        layers, orders, heads, kernel = form["layers"], form["max_order"] - 1, form["heads"], form["kernel"]
        torch.manual_seed(seed)
        draw = np.random.default_rng(seed)
        self.canonical = torch.from_numpy(draw.integers(0, 60, vocabulary))
        most = (2**63 - 1) // 61 // 2
        self.multipliers = [[int(m) * 2 + 1 for m in draw.integers(0, most, form["max_order"])] for _ in layers]
        primes = primes_from(form["table_size"])
        self.moduli = [[[next(primes) for _ in range(heads)] for _ in range(orders)] for _ in layers]
        size, inputs = form["width"] // heads, orders * form["width"]
        table = lambda p: torch.nn.Parameter(torch.randn(p, size, dtype=torch.float64))  # noqa: E731
        self.tables = torch.nn.ModuleList(torch.nn.ParameterList(table(p) for order in layer for p in order) for layer in self.moduli)
        linear = lambda: torch.nn.Linear(inputs, width, bias=False, dtype=torch.float64)  # noqa: E731
        norm = lambda: torch.nn.RMSNorm(width, eps=epsilon, dtype=torch.float64)  # noqa: E731
        each = lambda make: torch.nn.ModuleList(torch.nn.ModuleList(make() for _ in range(max(streams, 1))) for _ in layers)  # noqa: E731
        self.value = torch.nn.ModuleList(linear() for _ in layers)
        self.key, self.query_norm, self.key_norm, self.value_norm = each(linear), each(norm), each(norm), each(norm)
        taps = lambda: torch.nn.ParameterList([torch.randn(width, kernel, dtype=torch.float64)])  # noqa: E731
        self.conv = each(taps)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if "norm" in name:
                    parameter.normal_(1.0, 0.3)

    def slots(self, index, ids):
        """[T, orders * heads] of one text of canonical ids."""
        padded = [self.form["pad"]] * (self.form["max_order"] - 1) + ids
        rows = []
        for t in range(self.form["max_order"] - 1, len(padded)):
            mixed, row = padded[t] * self.multipliers[index][0], []
            for order, primes in enumerate(self.moduli[index]):
                mixed ^= padded[t - order - 1] * self.multipliers[index][order + 1]
                row += [mixed % p for p in primes]
            rows.append(row)
        return torch.tensor(rows)

    def added(self, index, ids, hidden, stream=0):
        """Y of one stream for one text: ids [T], hidden [T, D]."""
        slots = self.slots(index, self.canonical[ids].tolist())
        e = torch.cat([table[slots[:, i]] for i, table in enumerate(self.tables[index])], 1)
        key, query_norm, key_norm, value_norm = (getattr(self, part)[index][stream] for part in PARTS)
        k, v = key(e), self.value[index](e)
        score = (query_norm(hidden) * key_norm(k)).sum(1, keepdim=True) / self.width**0.5
        u = torch.sigmoid(score.sign() * score.abs().sqrt() if self.form["gate"] == "root" else score) * v
        kernel, dilation = self.form["kernel"], self.form["max_order"]
        heard = F.pad(value_norm(u).T, ((kernel - 1) * dilation, 0))
        taps = self.conv[index][stream][0][:, None]
        return F.silu(F.conv1d(heard[None], taps, dilation=dilation, groups=self.width)[0].T) + u

    def named(self, of=lambda p: p.detach()):
        """Under Braid's names."""
        found = {"memory.table": torch.cat([of(t) for layer in self.tables for t in layer])}
        for i, layer in enumerate(self.form["layers"]):
            found[f"memory.layers.{layer}.value.weight"] = of(self.value[i].weight)
            for s in range(max(self.streams, 1)):
                name = f"memory.layers.{layer}" + (f".streams.{s}" if self.streams else "")
                found |= {f"{name}.{part}.weight": of(getattr(self, part)[i][s].weight) for part in PARTS}
                found[f"{name}.conv.weight"] = of(self.conv[i][s][0])
        return found

    @torch.no_grad()
    def take(self, weights, folder):
        """Weights by Braid's names; the hash of an exported folder."""
        numbers = load_file(folder / "memory.safetensors")
        self.canonical, self.multipliers = numbers["canonical_ids"], numbers["multipliers"].tolist()
        assert numbers["moduli"].tolist() == [[p for order in layer for p in order] for layer in self.moduli]
        for name, parameter in self.named(lambda p: p).items():
            if name != "memory.table":
                parameter.copy_(weights[name])
        tables = [table for layer in self.tables for table in layer]
        for table, rows in zip(tables, weights["memory.table"].split([len(t) for t in tables]), strict=True):
            table.copy_(rows)

    def save(self, folder):
        folder.mkdir(exist_ok=True)
        form = self.form | {"format": "braid-hash-memory", "format_version": 1, "model_width": self.width}
        (folder / "memory_config.json").write_text(json.dumps(form | ({"streams": self.streams} if self.streams else {})))
        numbers = {"canonical_ids": self.canonical, "multipliers": torch.tensor(self.multipliers), "moduli": torch.tensor(self.moduli).flatten(1)}
        save_file({name: t.contiguous() for name, t in (self.named() | numbers).items()}, folder / "memory.safetensors")
        return folder
