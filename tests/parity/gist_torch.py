# SPDX-License-Identifier: Apache-2.0
"""Gist compression with transformers and peft in one pass: segments, gists, question and repeated span in one row under an
additive mask, and adapters whose term counts on chosen rows alone."""

import torch
from peft.tuners.lora import LoraLayer


def starts_of(tokens, segment, overlap):
    if tokens <= segment:
        return [0]
    starts = list(range(0, tokens - segment, segment - overlap))
    return [*starts, tokens - segment]


class Row:
    """Columns of the row: for each segment its tokens and its gists, then the question, then prompt and span."""

    def __init__(self, tokens, segment, overlap, gists, question, repeat):
        self.starts, self.length = starts_of(tokens, segment, overlap), min(segment, tokens)
        block = self.length + gists
        self.question = len(self.starts) * block
        self.repeat = self.question + question
        total = self.repeat + repeat
        kind = torch.zeros(total, dtype=torch.long)  # 0 context, 1 gist, 2 question, 3 repeated
        where = torch.zeros(total, dtype=torch.long)
        position = torch.zeros(total, dtype=torch.long)
        for g in range(len(self.starts)):
            span = slice(g * block, (g + 1) * block)
            kind[span] = torch.tensor([0] * self.length + [1] * gists)
            where[span], position[span] = g, torch.arange(block)
        kind[self.question : self.repeat], kind[self.repeat :] = 2, 3
        position[self.question : self.repeat] = block + torch.arange(question)
        position[self.repeat :] = block + torch.arange(repeat)
        causal = torch.ones(total, total, dtype=torch.bool).tril()
        same = (kind < 2)[:, None] & (kind < 2)[None] & (where[:, None] == where[None])
        behind = (kind >= 2)[:, None] & ((kind == 1)[None] | (kind[:, None] == kind[None]))
        seen = causal & (same | behind)
        self.mask = torch.zeros(total, total, dtype=torch.double).masked_fill(~seen, float("-inf"))
        self.position, self.gists = position, kind == 1


def count_on_rows(model, rows):
    """The term of every adapter is multiplied by `rows` [T]."""
    for module in model.modules():
        if not isinstance(module, LoraLayer):
            continue

        def forward(x, layer=module):
            a, b, s = layer.lora_A["default"], layer.lora_B["default"], layer.scaling["default"]
            return layer.base_layer(x) + rows.to(x.dtype)[:, None] * s * b(a(x))

        module.forward = forward


def hidden_rows(model, row, context, question, span, vectors, repeat):
    """Logits [B, T, V] of the whole row. `span` [B, P - 1] comes behind the repeat vector, or is None."""
    embed, batch = model.get_input_embeddings(), context.shape[0]
    parts = []
    for start in row.starts:
        parts += [embed(context[:, start : start + row.length]), vectors.expand(batch, -1, -1)]
    parts.append(embed(question))
    if span is not None:
        parts += [repeat.expand(batch, -1, -1), embed(span)]
    mask = row.mask.expand(batch, 1, -1, -1)
    return model(inputs_embeds=torch.cat(parts, 1), attention_mask=mask, position_ids=row.position[None]).logits


def loss_of(model, row, tokens, targets, question, repeat, cue, weights, vectors, prompt, teacher=None):
    """answers, and all of it: mean over all answer tokens, as gist_loss has it."""
    n = tokens.shape[1] - question - repeat
    context, asked = tokens[:, :n], tokens[:, n : n + question]
    span = tokens[:, n + question :] if repeat else None
    logits = hidden_rows(model, row, context, asked, span[:, :-1].clamp(min=0) if repeat else None, vectors, prompt)
    said = logits[:, row.question : row.question + question].log_softmax(-1)
    wanted = targets[:, n : n + question]
    known = wanted >= 0
    answers = -said[known].gather(1, wanted[known][:, None]).sum() / known.sum()
    loss = answers
    if repeat:
        again = logits[:, row.repeat :].log_softmax(-1)
        for b in range(len(tokens)):
            places = [t for t in range(cue, repeat) if span[b, t] >= 0]
            mean = sum(-again[b, t, span[b, t]] for t in places) / len(places)
            loss = loss + weights[0] * mean * known[b].sum() / known.sum()
    if weights[1]:
        p = teacher[:, n : n + question][known].log_softmax(-1)
        loss = loss + weights[1] * torch.nn.functional.kl_div(said[known], p, log_target=True, reduction="sum") / known.sum()
    return answers, loss
