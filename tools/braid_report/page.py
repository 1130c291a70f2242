# SPDX-License-Identifier: Apache-2.0
"""The page: one HTML file that needs nothing else."""

import base64
import datetime
import html
import math

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .86rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8884; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, .words { text-align: left; }
tr.bad .words { color: #c1121f; font-weight: 600; } tr.missing { opacity: .65; font-style: italic; }
figure { margin: 1rem 0 2rem; } figure img { max-width: 100%; background: white; border-radius: 4px; }
figcaption { font-size: .86rem; opacity: .8; }
pre { overflow-x: auto; background: #8881; padding: .8rem; border-radius: 4px; font-size: .82rem; }
"""

HEADINGS = ["run", "layers", "variant", "seed", "steps", "loss, mean of last 10", "last loss", "held-out loss", "gain (log10)",
            "tokens/s", "ranks", "device", "commit", "state"]  # fmt: skip

SNIPPET = """import h5py, pandas
with h5py.File("RUN/run.h5", "r", swmr=True, locking=False) as f:
    print(dict(f.attrs)["config"])               # the whole configuration
    train = pandas.DataFrame(f["train"][:])      # one row a step
    print(f["train"].attrs["unit:loss"], f["train"].attrs["meaning:loss"])
train.plot("step", "loss")"""


def number(value, digits):
    if value is None:
        return "–"
    return "NaN" if math.isnan(value) else f"{value:,.{digits}f}"


def cells(run):
    attributes = run.attributes
    loss = run.column("loss")
    return [
        run.name, "–" if run.depth is None else run.depth, run.variant, "–" if run.seed is None else run.seed,
        "–" if run.train is None else len(run.train), number(run.final_loss(), 4),
        number(None if loss is None else float(loss[-1]), 4), number(run.final_eval_loss(), 4),
        number(None if run.variant == "baseline" else run.final("gain_proxy_log10_max_entry"), 3),
        number(run.tokens_per_second(), 0), attributes.get("world_size", "–"), attributes.get("device", "–"),
        str(attributes.get("git_commit", "–"))[:10], run.verdict(),
    ]  # fmt: skip


def row_class(run):
    if run.state in ("missing", "unreadable"):
        return "missing"
    return "bad" if run.first_bad_step() is not None or run.state in ("failed", "diverged", "silent") else ""


def table(runs):
    head = "".join(f'<th{" class=words" if h == "state" else ""}>{h}</th>' for h in HEADINGS)
    body = ""
    for run in runs:
        data = cells(run)
        inner = "".join(f"<td>{html.escape(str(c))}</td>" for c in data[:-1])
        body += f'<tr class="{row_class(run)}">{inner}<td class=words>{html.escape(data[-1])}</td></tr>\n'
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'


def picture(caption, png):
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="{html.escape(caption)}" src="data:image/png;base64,{data}"><figcaption>{html.escape(caption)}</figcaption></figure>'


def configurations(runs):
    parts = [f"<details><summary>{html.escape(r.name)}</summary><pre>{html.escape(r.config_text)}</pre></details>" for r in runs if r.config_text]
    return "<h2>Configurations</h2>" + "".join(parts) if parts else ""


def page(title, runs, pictures):
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{html.escape(title)}</h1>
<p>{len(runs)} runs, report made {made}. Losses are in nats per token; a run that turned non-finite keeps its place.</p>
{table(runs)}
<h2>Plots</h2>
{"".join(picture(caption, png) for caption, png in pictures)}
{configurations(runs)}
<h2>Reading these files</h2><pre>{html.escape(SNIPPET)}</pre>
</body></html>
"""
