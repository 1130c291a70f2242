# SPDX-License-Identifier: Apache-2.0
"""The page of a report on compressed contexts: one HTML file that needs nothing else."""

import datetime

from . import page
from .engram_page import escape, grid
from .gist_results import KINDS, tables

STYLE = page.STYLE + """
.note { font-size: .86rem; opacity: .85; } td.PASS { color: #1a7a3c; font-weight: 600; }
td.FAIL { color: var(--bad); font-weight: 600; } table.targets td { text-align: left; white-space: normal; }
table.answers td, table.answers th { text-align: left; white-space: pre-wrap; overflow-wrap: anywhere; max-width: 22rem; }
@media (prefers-color-scheme: dark) { td.PASS { color: #7bd69a; } }
"""
INTRO = """Contexts are compressed to the keys and values of a few learned vectors (<b>gist</b>), and questions are
answered from these alone. Beside it: the gists of another context (<b>shuffled</b>), no context (<b>none</b>), as many
raw tokens (<b>truncated</b>), the gists of the right segments alone (<b>oracle</b>), the whole raw context to the same
model (<b>full</b>), and a <b>search</b> in the raw context, which shows that the data can be answered."""
SHOWN = 3  # answers of each kind


def cell(words):
    look = f' class="{words}"' if words in ("PASS", "FAIL") else ""
    return f"<td{look}>{escape(words)}</td>"


def table(found):
    rows = ["<tr>" + "".join(map(cell, row)) + "</tr>\n" for row in found.rows]
    look = "targets" if found.headings[0] == "target" else ""
    return f'<h3>{escape(found.title)}</h3>\n{grid(look, found.headings, rows)}<p class="note">{escape(found.note)}</p>\n'


def some_answers(each):
    rows = []
    for kind in KINDS:
        found = [row for row in each.answers if row["system"] == "gist" and row["kind"] == kind][:SHOWN]
        rows += ["<tr>" + "".join(map(cell, (kind, row["suite"], row["expected"], row["answer"]))) + "</tr>" for row in found]
    if not rows:
        return ""
    shown = grid("answers", ["kind", "suite", "expected", "answer from gists"], rows)
    return f"<details><summary>Some answers; all are in the table /answers</summary>{shown}</details>"


def evaluation(each):
    said = ", ".join(f"{name} {each.attributes[name]}" for name in ("run", "data", "seed", "gists", "segment", "device", "git_commit")
                     if name in each.attributes)  # fmt: skip
    return f'<h2>{escape(each.title)}</h2><p class="note">{escape(said)}</p>{"".join(map(table, tables(each)))}{some_answers(each)}'


def page_of(title, evaluations, pictures, troubles):
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    wrong = "".join(f'<li class="bad">{escape(line)}</li>' for line in troubles)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>{INTRO} Report made {made}.</p>
{f"<ul>{wrong}</ul>" if wrong else ""}
{"".join(map(evaluation, evaluations)) or "<p>No evaluation could be read.</p>"}
<h2>Plots</h2>
{"".join(page.picture(caption, png) for caption, png in pictures) or "<p>Nothing to plot.</p>"}
</body></html>
"""
