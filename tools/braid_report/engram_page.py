# SPDX-License-Identifier: Apache-2.0
"""The page of an Engram report: one HTML file that needs nothing else."""

import datetime
import html

from . import page
from .engram_published import REMARK, sources
from .engram_results import complaints, shown_singly

STYLE = page.STYLE + """
tr.public { font-style: italic; opacity: .8; } .note { font-size: .86rem; opacity: .85; }
table.answers td, table.answers th { text-align: left; vertical-align: top; max-width: 22rem; }
table.answers td { white-space: pre-wrap; overflow-wrap: anywhere; }
td.right { color: #1a7a3c; } td.wrong { color: var(--bad); }
@media (prefers-color-scheme: dark) { td.right { color: #7bd69a; } }
"""
KINDS = (("learnt", False, True, 3), ("lost", True, False, 2), ("wrong both times", False, False, 3),
         ("right both times", True, True, 2))  # right before, right after, at most so many  # fmt: skip
INTRO = """A language model (base) is given small adapters that are trained on pairs of prompt and answer (tuned), and
both are asked the same prompts and decode greedily. Protocols are recipes: <b>seed</b>, <b>raw</b> and <b>mlx</b>
repeat what the public experiment did, and <b>ours</b> trains on the answers alone, with an end token, and asks in the
very form it trained on; <b>ours-clean</b> is the same with patterns in the test of which nothing was trained on, and
<b>memory</b> is ours with hash memory instead of adapters."""


def escape(words):
    return html.escape(str(words))


def grid(look, headings, rows):
    """A table of class `look`; rows are HTML."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    return (f'<div class="table"><table class="{look}"><thead><tr>{head}</tr></thead><tbody>\n{"".join(rows)}</tbody>'
            "</table></div>")  # fmt: skip


def row_of(kind, cells):
    return f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n"


def table(found):
    rows = [row_of(kind, cells) for kind, cells in found.rows]
    return (f'<h2>{escape(found.title)}</h2>\n{grid("", found.headings, rows)}'
            f'<p class="note">{escape(found.note)}</p>\n')  # fmt: skip


def chosen_answers(evaluation):
    """(what became of it, answer): some of each kind, in the order of the file."""
    for words, before, after, most in KINDS:
        both = [answer for answer in evaluation.answers if answer.tuned is not None]
        found = [answer for answer in both if (answer.base_right, answer.tuned_right) == (before, after)]
        yield from ((words, answer) for answer in found[:most])


def answer_cell(words, right):
    return f'<td class="{"right" if right else "wrong"}">{escape(words) or "(nothing)"}</td>'


def answer_row(words, answer):
    asked = "".join(f"<td>{escape(cell)}</td>" for cell in (words, answer.prompt, answer.expected))
    base, tuned = answer_cell(answer.base, answer.base_right), answer_cell(answer.tuned, answer.tuned_right)
    return f"<tr>{asked}{base}{tuned}</tr>\n"


def answers(evaluation):
    rows = [answer_row(words, answer) for words, answer in chosen_answers(evaluation)]
    if not rows:
        return ""
    shown = grid("answers", ["", "prompt", "expected", "base", "tuned"], rows)
    return f"<details open><summary>{escape(evaluation.title)}</summary>{shown}</details>"


def all_answers(evaluations):
    parts = "".join(map(answers, shown_singly(evaluations)))
    note = '<p class="note">A few of each kind; all of them are in the table /examples of engram.h5.</p>'
    return f"<h2>Some answers</h2>{note}{parts}" if parts else ""


def troubles(evaluations):
    lines = "".join(f'<li class="bad">{escape(line)}</li>' for line in complaints(evaluations))
    return f"<ul>{lines}</ul>" if lines else ""


def public_note(evaluations):
    """What the public rows come from, for the protocols that are there."""
    lines = "".join(f"<li>{escape(line)}</li>" for line in sources({each.protocol for each in evaluations}))
    return f'<p class="note">{escape(REMARK)}</p><ul class="note">{lines}</ul>' if lines else ""


def page_of(title, evaluations, tables, pictures):
    made = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    first, *rest = tables or [None]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}</style></head><body>
<h1>{escape(title)}</h1>
<p>{INTRO} Report made {made}.</p>
{troubles(evaluations)}
{table(first) if first else "<p>No evaluation could be read.</p>"}
{public_note(evaluations)}
{"".join(map(table, rest))}
<h2>Plots</h2>
{"".join(page.picture(caption, png) for caption, png in pictures) or "<p>Nothing to plot yet.</p>"}
{all_answers(evaluations)}
{page.details([each.run for each in evaluations if each.run is not None])}
</body></html>
"""
