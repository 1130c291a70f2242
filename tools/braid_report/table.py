# SPDX-License-Identifier: Apache-2.0
"""Tables for a terminal. One that is too wide becomes several, each with some of the columns; long cells wrap."""

from .terminal import pad, width_of

CELL_MOST = 44  # columns of the screen; a longer cell goes on in the next line
GAP = "  "


def wrapped(text, width):
    """The text in lines of at most `width` columns, broken at a space where there is one, else behind punctuation."""
    rest, lines = text, []
    while width_of(rest) > width:
        end = len(rest)
        while width_of(rest[:end]) > width and end > 1:
            end -= 1
        space = rest.rfind(" ", end // 3, end + 1)
        near = space if space > 0 else max(rest.rfind(mark, end * 2 // 3, end) for mark in "/_,;-.")
        end = near + 1 if near > 0 else end
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return [*lines, rest]


def blocks(widths, room):
    """Places of the columns behind the first that stand together under `room` columns."""
    found, used = [[]], 0
    for place, width in enumerate(widths):
        if found[-1] and used + len(GAP) + width > room:
            found.append([])
            used = 0
        found[-1].append(place)
        used += len(GAP) + width
    return found


def line_of(cells, widths, rights, styles, look):
    """One row of cells, as many lines as the tallest cell needs."""
    tall = [wrapped(cell, width) for cell, width in zip(cells, widths)]
    for at in range(max(map(len, tall))):
        parts = [pad(part[at] if at < len(part) else "", width, right)
                 for part, width, right in zip(tall, widths, rights)]  # fmt: skip
        parts[-1] = parts[-1].rstrip() if not rights[-1] else parts[-1]
        yield GAP.join(look.paint(part, *style) for part, style in zip(parts, styles)).rstrip()


def render(headings, rows, look, width, left=None, style_of=None, most=CELL_MOST):
    """Lines of a table whose first column is repeated in each block; `left` are the columns that are flush left (None:
    all), `style_of(row, column)` names a cell's styles, `most` is the widest a column gets before its cells wrap."""
    headings, rows = [look.plain(h) for h in headings], [[look.plain(cell) for cell in row] for row in rows]
    most = max(8, min(most, width - 1))
    widths = [min(most, max(width_of(cell) for cell in column)) for column in zip(headings, *rows)]
    widths[0] = min(widths[0], max(8, width * 2 // 5))
    rest = max(8, width - widths[0] - len(GAP))
    widths[1:] = [min(each, rest) for each in widths[1:]]
    lines = []
    for block in blocks(widths[1:], width - widths[0]) if len(widths) > 1 else [[]]:
        places = [0, *(place + 1 for place in block)]
        shape = [widths[p] for p in places], [left is not None and p not in left for p in places]
        lines += [""] if lines else []
        lines += line_of([headings[p] for p in places], *shape, [("bold",)] * len(places), look)
        for at, row in enumerate(rows):
            styles = [style_of(at, p) if style_of else () for p in places]
            lines += line_of([row[p] for p in places], *shape, styles, look)
    return lines
