# SPDX-License-Identifier: Apache-2.0
"""The page of a study of depth."""

import datetime
import html
import math

import numpy as np

from .depth_answer import answer, number
from .depth_study import STRESS_DEPTH, finished, largest
from .page import STYLE, picture, uncommitted_note
from .records import NONE
from .runs import table_of


def loss_words(group):
    """Mean and deviation over seeds, and how many runs they are of where not of all."""
    if group is None or not group.losses():
        return NONE
    good, all_of = len(group.finite()), len(group.losses())
    if good == 0:
        return "NaN"
    spread = "" if group.deviation() is None else f" ± {group.deviation():.3f}"
    return f"{group.mean():.3f}{spread}" + (f" ({all_of - good} of {all_of} NaN)" if good < all_of else "")


def grid(headings, lines):
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>\n" for line in lines)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def loss_table(study, task, precision):
    here = {s.depth: s for s in study.settings if (s.task, s.precision) == (task, precision)}
    lines = [[form, *(loss_words(study.group(setting, form)) for setting in here.values())] for form in study.forms]
    lines = [line for line in lines if any(cell != NONE for cell in line[1:])]
    title = f"<h3>{html.escape(task.replace('_', ' '))}, {html.escape(precision)}</h3>"
    return title + grid(["held-out loss", *(f"{depth} layers" for depth in here)], lines)


def bad_share(run):
    return len(run.bad_steps()) / max(1, len(run.column("step"))) if run.column("step") is not None else math.nan


def stress_row(form, depth, runs):
    first = [int(run.bad_steps()[0]) for run in runs if len(run.bad_steps())]
    row = [form, str(depth), str(len(runs)), f"{100 * np.mean([bad_share(run) for run in runs]):.1f} %", str(min(first)) if first else NONE]
    for name in ("amax_gain_forward", "amax_gain_backward", "log_column_sum"):
        values = [value for run in runs if (value := largest(run, name)) is not None]
        row.append(number(max(values, key=lambda v: math.inf if math.isnan(v) else v)) if values else NONE)
    return row


def stress_table(study):
    lines = []
    for form in study.forms:
        for depth in [d for d in study.depths if d >= STRESS_DEPTH]:
            runs = [run for g in study.of_form(form) if g.setting.depth == depth for run in g.runs if finished(run)]
            if runs:
                lines.append(stress_row(form, depth, runs))
    if not lines:
        return "<p>No finished run is that deep.</p>"
    return grid(["form", "layers", "runs", "bad steps", "first bad step", "largest Amax gain forward", "largest Amax gain backward",
                 "largest |ln column sum|"], lines)  # fmt: skip


def items(sentences):
    return "<ul>" + "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def optimiser(study):
    """One line for each recipe among the runs."""
    keys = ("learning_rate", "beta2", "weight_decay", "schedule", "warmup_steps", "clip_norm", "bias_correction")
    found = {tuple((key, table_of(run.config, "optim").get(key)) for key in keys) for run in study.readable}
    words = {", ".join(f"{key} {value}" for key, value in recipe if value is not None) for recipe in found}
    return items(sorted(word for word in words if word))


def page(title, study, pictures):
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    said, limits = answer(study)
    tables = "".join(loss_table(study, *task) for task in study.tasks())
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{len(study.runs)} runs, report made {made}. The sentences follow from the numbers by fixed rules: a form is finite up to a
depth when no run there or shallower had a step that was not finite; its loss differs from the plain residual's when the means
are more than two standard errors of their difference apart.</p>
{uncommitted_note(study.readable)}
<h2>Answer</h2>{items(said)}
<h2>Limits</h2>{items(limits)}
<h2>Held-out loss by depth</h2>
<p>Nats per token at the end of training: mean ± standard deviation over seeds.</p>
{tables}
<h2>Stress: {STRESS_DEPTH} layers and more</h2>
<p>Over all tasks, numbers and seeds. Bad steps: those with a loss or logits that were not finite. Gains: the largest of any
step and layer.</p>
{stress_table(study)}
<h2>Plots</h2>
{"".join(picture(caption, png) for caption, png in pictures) or "<p>No rows to plot yet.</p>"}
<h2>Optimiser</h2>{optimiser(study)}
</body></html>
"""
