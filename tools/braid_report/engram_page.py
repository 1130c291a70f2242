# SPDX-License-Identifier: Apache-2.0
"""The page of an Engram report: one HTML file that needs nothing else."""

import datetime
import html

from . import page
from .engram_published import REMARK, sources
from .engram_results import complaints, shown_singly

STYLE = page.STYLE + """
tr.public { font-style: italic; opacity: .8; } .note { font-size: .86rem; opacity: .85; }
table.answers td { text-align: left; white-space: pre-wrap; overflow-wrap: anywhere; vertical-align: top; max-width: 22rem; }
table.answers th { text-align: left; } code { font-size: .95em; } td.right { color: #1a7a3c; } td.wrong { color: var(--bad); }
@media (prefers-color-scheme: dark) { td.right { color: #7bd69a; } }
"""
KINDS = (("learnt", False, True, 3), ("lost", True, False, 2), ("wrong both times", False, False, 3), ("right both times", True, True, 2))
INTRO = """A language model (base) is given small adapters that are trained on pairs of prompt and answer (tuned), and both are asked the
same prompts and decode greedily. Protocols are recipes: <b>seed</b>, <b>raw</b> and <b>mlx</b> repeat what the public experiment did, and
<b>ours</b> trains on the answers alone, with an end token, and asks in the very form it trained on."""


def escape(words):
    return html.escape(str(words))


def table(found):
    head = "".join(f"<th>{escape(heading)}</th>" for heading in found.headings)
    body = "".join(f'<tr class="{kind}">' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n" for kind, cells in found.rows)
    return (f'<h2>{escape(found.title)}</h2>\n<div class="table"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>'
            f'<p class="note">{escape(found.note)}</p>')  # fmt: skip


def chosen_answers(evaluation):
    """(what became of it, answer): some of each kind, in the order of the file."""
    for words, before, after, most in KINDS:
        found = [a for a in evaluation.answers if a.tuned is not None and (a.base_right, a.tuned_right) == (before, after)]
        yield from ((words, answer) for answer in found[:most])


def answer_cell(words, right):
    return f'<td class="{"right" if right else "wrong"}">{escape(words) or "(nothing)"}</td>'


def answers(evaluation):
    lines = "".join(f"<tr><td>{words}</td><td>{escape(a.prompt)}</td><td>{escape(a.expected)}</td>{answer_cell(a.base, a.base_right)}"
                    f"{answer_cell(a.tuned, a.tuned_right)}</tr>\n" for words, a in chosen_answers(evaluation))  # fmt: skip
    if not lines:
        return ""
    head = "".join(f"<th>{heading}</th>" for heading in ("", "prompt", "expected", "base", "tuned"))
    return (f'<details open><summary>{escape(evaluation.title)}</summary><div class="table"><table class="answers"><thead><tr>{head}</tr>'
            f"</thead><tbody>\n{lines}</tbody></table></div></details>")  # fmt: skip


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
