# SPDX-License-Identifier: Apache-2.0
"""The page: one HTML file that needs nothing else."""

import base64
import datetime
import html
import math

from . import records
from .records import NONE

STYLE = """
:root { color-scheme: light dark; --bad: #b3101c; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .86rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; }
th:first-child, td:first-child, .words { text-align: left; }
td.words { white-space: normal; min-width: 14rem; }
tr.bad .words { color: var(--bad); font-weight: 600; } tr.missing { opacity: .75; font-style: italic; }
figure { margin: 1rem 0 2rem; } figure img { max-width: 100%; background: white; border-radius: 4px; }
figcaption { font-size: .86rem; opacity: .85; }
table.plain th, table.plain td { text-align: left; }
details { margin: .3rem 0; } details details { margin-left: 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; font-size: .86rem; margin: .5rem 1rem; }
dt { opacity: .8; } dd { margin: 0; overflow-wrap: anywhere; } .bad { color: var(--bad); font-weight: 600; }
pre { overflow-x: auto; background: #8881; padding: .8rem; border-radius: 4px; font-size: .82rem; }
"""

SCALE = 0.55  # CSS pixels of a plot's pixel

SNIPPET = """import h5py, pandas
with h5py.File("RUN/run.h5", "r", swmr=True, locking=False) as f:
    print(dict(f.attrs)["config"].decode())      # the whole configuration
    train = pandas.DataFrame(f["train"][:])      # one row a step
    print(f["train"].attrs["unit:loss"], f["train"].attrs["meaning:loss"])
    print(f["status"][0])                        # state, last and planned step, heartbeat, message
train.plot("step", "loss")"""


def number(value, digits):
    if value is None:
        return NONE
    return f"{value:,.{digits}f}" if math.isfinite(value) else "NaN" if math.isnan(value) else str(value)


def loss_cell(run):
    """A run that turned NaN shows what it had reached, and that this is not where it ended."""
    words = number(run.final_loss(), 4)
    return words + " (before NaN)" if run.nan_from() is not None and words != "NaN" else words


def or_none(value):
    return NONE if value is None else str(value)


def row_of(run):
    """Heading → text; the table's columns are those of the first row."""
    attributes = run.attributes
    gain = None if run.variant == "baseline" else run.final("gain_proxy_log10_max_entry")
    return {
        "run": run.name, "state": run.verdict(), "layers": or_none(run.depth), "variant": run.variant, "seed": or_none(run.seed),
        "parameters": or_none(attributes.get("parameters")),
        "steps": f"{run.steps_done()} of {run.planned_steps}" if run.planned_steps else str(run.steps_done()),
        "loss, mean of last 10": loss_cell(run), "last loss": number(run.final("loss"), 4),
        "held-out loss": number(run.final("loss", "eval"), 4), "gain (log10)": number(gain, 3),
        "tokens/s": number(run.tokens_per_second(), 0), "ranks": or_none(attributes.get("world_size")),
        "mesh": or_none(attributes.get("mesh")), "device": or_none(attributes.get("device")),
        "commit": records.commit(run),
    }  # fmt: skip


def row_class(run):
    if run.state in ("missing", "unreadable"):
        return "missing"
    return "bad" if run.nan_from() is not None or run.state in ("failed", "diverged", "silent") else ""


def table(runs):
    rows = [row_of(run) for run in runs]
    headings = [h for h in rows[0] if h != "parameters" or any(row[h] != NONE for row in rows)]
    kind = {h: ' class="words"' if h == "state" else "" for h in headings}
    head = "".join(f"<th{kind[h]}>{h}</th>" for h in headings)
    body = ""
    for run, row in zip(runs, rows):
        cells = "".join(f"<td{kind[h]}>{html.escape(row[h])}</td>" for h in headings)
        body += f'<tr class="{row_class(run)}">{cells}</tr>\n'
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def picture(caption, png):
    """As wide as all others for its size, so that their letters are equally large."""
    data, words = base64.b64encode(png).decode(), html.escape(caption)
    width = round(int.from_bytes(png[16:20], "big") * SCALE)
    return (f'<figure><img width="{width}" alt="{words}" src="data:image/png;base64,{data}">'
            f"<figcaption>{words}</figcaption></figure>")  # fmt: skip


def detail(run):
    """What is known of one run's making, and its whole configuration, folded."""
    config = f"<pre>{html.escape(run.config_text)}</pre>" if run.config_text else ""
    content = records.record(run) + config
    return f"<details><summary>{html.escape(run.name)}</summary>{content}</details>" if content else ""


def details(runs):
    parts = "".join(map(detail, runs))
    return "<h2>How each run was made</h2>" + parts if parts else ""


def uncommitted_note(runs):
    count = sum(records.uncommitted(run) == 1 for run in runs)
    if count == 0:
        return ""
    return (f'<p class="bad">{count} of {len(runs)} runs were built from sources with uncommitted changes ("+" behind '
            "the commit): the commit alone does not reproduce them.</p>")  # fmt: skip


def page(title, runs, pictures):
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{len(runs)} run{"s" * (len(runs) != 1)}, report made {made}. Losses are in nats per token; the mean is over the last
ten finite steps; tokens/s is the median without the first two steps.</p>
{table(runs)}
{uncommitted_note(runs)}
<h2>Plots</h2>
{"".join(picture(caption, png) for caption, png in pictures) or "<p>No rows to plot yet.</p>"}
{details(runs)}
<h2>Reading these files</h2><pre>{html.escape(SNIPPET)}</pre>
</body></html>
"""
