"""Renderers: a table as CSV, JSON, Markdown, LaTeX and HTML. Torch-free."""

import csv
import html
import io
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vismodels.files import json_text
from vismodels.tables.table import DASH, MINUS, Cell, Column, Table


def to_csv(table: Table) -> str:
    """Return the table as CSV: full precision, ends of the interval and runs in columns beside."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    has_runs = [any(row.cells[i].n for row in table.rows) for i in range(len(table.columns))]
    head = [table.row_title]
    for column, runs in zip(table.columns, has_runs, strict=True):
        name = _with_unit(column)
        head += [name, f"{name} low", f"{name} high", f"{name} runs"] if runs else [name]
    writer.writerow(head)
    for row in table.rows:
        line = [row.label]
        for cell, runs in zip(row.cells, has_runs, strict=True):
            ends = (cell.interval.low, cell.interval.high) if cell.interval else ("", "")
            line.append(cell.text if cell.value is None else _exact(cell.value))
            line += [*map(_exact, ends), str(cell.n or "")] if runs else []
        writer.writerow(line)
    return stream.getvalue()


def to_json(table: Table) -> str:
    """Return the table as JSON: full precision, intervals, number of runs, marks, footnotes."""
    return json_text(
        {
            "title": table.title,
            "caption": table.caption,
            "banner": table.banner,
            "row_title": table.row_title,
            "columns": [vars(column) for column in table.columns],
            "rows": [
                {"label": row.label, "cells": [_cell_record(cell) for cell in row.cells]}
                for row in table.rows
            ],
            "footnotes": [vars(note) for note in table.footnotes],
        }
    )


def to_markdown(table: Table) -> str:
    """Return the table as GitHub Markdown: best in bold, the paper's values in italics."""
    lines = [f"> **{_markdown(table.banner)}**", ""] if table.banner else []
    lines += [f"**{_markdown(table.title)}.** {_markdown(table.caption)}", ""]
    head = [table.row_title, *(_with_unit(column) + _arrow(column) for column in table.columns)]
    rules = [":---", *("---:" if column.numeric else ":---" for column in table.columns)]
    lines += [_markdown_line(map(_markdown, head)), _markdown_line(rules)]
    for row in table.rows:
        cells = [_markdown(row.label)]
        for cell in row.cells:
            text = _markdown(" ".join(part for part in (cell.text, cell.spread) if part))
            text = f"**{text}**" if cell.best else f"*{text}*" if cell.kind == "paper" else text
            cells.append(text + "".join(f"<sup>{_markdown(mark)}</sup>" for mark in cell.marks))
        lines.append(_markdown_line(cells))
    notes = [f"- <sup>{_markdown(n.mark)}</sup> {_markdown(n.text)}" for n in table.footnotes]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"


def to_latex(table: Table) -> str:
    r"""Return the table as LaTeX; the document loads booktabs, and xcolor for `\textcolor`."""
    lines = [r"\begin{table}", r"  \centering"]
    lines += [rf"  \textbf{{{_latex(table.banner)}}}\par"] if table.banner else []
    lines += [
        rf"  \caption{{\textbf{{{_latex(table.title)}.}} {_latex(table.caption)}}}",
        rf"  \begin{{tabular}}{{l{''.join('r' if c.numeric else 'l' for c in table.columns)}}}",
        r"    \toprule",
    ]
    head = [table.row_title, *(_with_unit(column) + _arrow(column) for column in table.columns)]
    lines += [rf"    {' & '.join(map(_latex, head))} \\", r"    \midrule"]
    for row in table.rows:
        cells = [_latex(row.label)]
        for cell in row.cells:
            text = _latex(" ".join(part for part in (cell.text, cell.spread) if part))
            text = rf"\textbf{{{text}}}" if cell.best else text
            text = rf"\textcolor{{gray}}{{{text}}}" if cell.kind == "paper" else text
            cells.append(text + "".join(rf"\textsuperscript{{{_latex(m)}}}" for m in cell.marks))
        lines.append(rf"    {' & '.join(cells)} \\")
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    for note in table.footnotes:
        mark = rf"\textsuperscript{{{_latex(note.mark)}}}"
        lines.append(rf"  \par\footnotesize {mark} {_latex(note.text)}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def to_html(table: Table) -> str:
    """Return the table as an HTML fragment without style or script.

    Classes: `best`, `footnotes`, `interval`, `mark`, `note`, `number` and the kinds of the cells.
    """
    lines = [f'<p class="note" role="note">{_html(table.banner)}</p>'] if table.banner else []
    lines += [
        "<table>",
        f"<caption><strong>{_html(table.title)}.</strong> {_html(table.caption)}</caption>",
        "<thead>",
        f'<tr><th scope="col">{_html(table.row_title)}</th>',
        *(_html_head(column) for column in table.columns),
        "</tr>",
        "</thead>",
        "<tbody>",
    ]
    for row in table.rows:
        lines.append(f'<tr><th scope="row">{_html(row.label)}</th>')
        lines += [_html_cell(*pair) for pair in zip(row.cells, table.columns, strict=True)]
        lines.append("</tr>")
    lines += ["</tbody>", "</table>"]
    if table.footnotes:
        lines.append('<ul class="footnotes">')
        lines += [
            f'<li><sup class="mark">{_html(note.mark)}</sup> {_html(note.text)}</li>'
            for note in table.footnotes
        ]
        lines.append("</ul>")
    return "\n".join(lines) + "\n"


RENDERERS: Mapping[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "json": to_json,
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
}


def write_table(table: Table, folder: Path | str, name: str) -> None:
    """Write `name.csv`, `.json`, `.md`, `.tex` and `.html` into `folder`.

    Plain writes: the folder is the caller's, who renames it when it is complete.
    """
    for suffix, render in RENDERERS.items():
        path = Path(folder) / f"{name}.{suffix}"
        path.write_text(render(table), encoding="utf-8", newline="\n")


def _with_unit(column: Column) -> str:
    return f"{column.title} ({column.unit})" if column.unit else column.title


def _arrow(column: Column) -> str:
    return {None: "", True: " ↑", False: " ↓"}[column.higher_is_better]


def _exact(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(value)


def _cell_record(cell: Cell) -> dict[str, Any]:
    bounds = cell.interval
    ends = bounds and {"low": bounds.low, "high": bounds.high, "kind": bounds.kind, "n": bounds.n}
    return {**vars(cell), "marks": list(cell.marks), "interval": ends}


def _markdown(text: str) -> str:
    text = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    **{symbol: f"\\{symbol}" for symbol in "&%$#_{}"},
    **{symbol: f"{{{symbol}}}" for symbol in "[*"},  # else options of the line break before them
    MINUS: "$-$",
    DASH: "--",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\S{}",
    "¶": r"\P{}",
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _html(text: str) -> str:
    return html.escape(text)


def _html_head(column: Column) -> str:
    title = _html(_with_unit(column))
    if column.description:
        title = f'<abbr title="{_html(column.description)}">{title}</abbr>'
    if column.higher_is_better is not None:
        words = "higher is better" if column.higher_is_better else "lower is better"
        title += f' <abbr title="{words}">{_arrow(column).strip()}</abbr>'
    number_class = ' class="number"' if column.numeric else ""
    return f'<th scope="col"{number_class}>{title}</th>'


def _html_cell(cell: Cell, column: Column) -> str:
    text = _html(cell.text)
    text = f'<strong class="best">{text}</strong>' if cell.best else text
    if cell.spread:
        text += f' <span class="interval">{_html(cell.spread)}</span>'
    if cell.marks:
        text += f'<sup class="mark">{_html(", ".join(cell.marks))}</sup>'
    names = [name for name in ("number" if column.numeric else "", cell.kind) if name]
    return f'<td class="{" ".join(names)}">{text}</td>' if names else f"<td>{text}</td>"
