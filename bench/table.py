"""`python -m bench.table`: the results that were kept, as tables in Markdown. Pure, up to the last lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from bench import ledger
from bench.measured import Measured
from bench.targets import FLOOR, LITELLM, MONOLITH, MONOLITH_BY_HTTP, NGINX, PEERS, TARGETS, TOOLS, Target

COLUMNS = {  # how the subjects that are measured side by side are headed
    "split": "gateway + control",
    "gateway": "of it the gateway",
    "control": "of it control",
    "all-in-one": "all-in-one",
    FLOOR: "bare pass-through",
    NGINX: "nginx",
    LITELLM: "LiteLLM",
    MONOLITH: "Soju06/codex-lb",
    MONOLITH_BY_HTTP: "the same, HTTP upstream",
}
RATIOS_OF = "CPU us"  # figures whose ratio to the floor says more than they do


def figure(name: str, found: Measured, before: Measured | None) -> Iterator[str]:
    """Value, ratio to the floor where it says something, and what was kept last."""
    yield f"\n{name}{f'   ({found.note})' if found.note else ''}"
    for subject in found.rounds:
        ratio = found.ratio(subject, FLOOR) if RATIOS_OF in name else None
        old = before.value(subject) if before else None
        beside = f"{ratio:6.2f} x floor" if ratio is not None else " " * 14
        was = f"   was {number(old)}" if old is not None else ""
        yield f"  {subject:<16}{number(found.value(subject)):>10}  {beside}{was}".rstrip()


def verdicts(figures: Mapping[str, Measured], before: Mapping[str, Measured]) -> list[tuple[str, ...]]:
    """Every target: what of whom, the bound, what was reached, the verdict, and what was reached last."""
    return [
        (
            f"{target.figure}: {target.subject}",
            target.says(),
            reached(target, figures),
            target.verdict(figures).value,
            reached(target, before),
        )
        for target in TARGETS
    ]


def reached(target: Target, figures: Mapping[str, Measured]) -> str:
    """In the target's own measure."""
    value = target.reached(figures)
    if value is None:
        return "-"
    if target.of in PEERS and value:
        return f"1/{1 / value:.0f} x {target.of}"
    return f"{value:.3f} x {target.of}" if target.of else number(value)


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def markdown(figures: Mapping[str, Measured]) -> Iterator[str]:
    """Three tables: subjects side by side, forms of the product, targets."""
    wide = {name: found for name, found in figures.items() if COLUMNS.keys() & found.rounds.keys()}
    shown = [subject for subject in COLUMNS if any(subject in found.rounds for found in wide.values())]
    yield from _rows(["", *(COLUMNS[subject] for subject in shown)], (_wide(*item, shown) for item in wide.items()))
    narrow = [(name, found) for name, found in figures.items() if name not in wide]
    yield ""
    yield from _rows(["", "values"], ([name, _values(found)] for name, found in narrow))
    yield ""
    head = ["target", "bound", "reached", "verdict"]
    yield from _rows(head, (list(row[:4]) for row in verdicts(figures, {})))


def number(value: float | None) -> str:
    """Three digits that count, or all before the point."""
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"


def _wide(name: str, found: Measured, shown: Sequence[str]) -> list[str]:
    return [name, *(_cell(name, found, subject) for subject in shown)]


def _cell(name: str, found: Measured, subject: str) -> str:
    value, ratio = found.value(subject), found.ratio(subject, FLOOR)
    if value is None:
        return ""
    is_compared = RATIOS_OF in name and subject != FLOOR and ratio is not None
    return f"{number(value)} ({ratio:.1f} x)" if is_compared else number(value)


def _values(found: Measured) -> str:
    return ", ".join(f"{subject}: {number(found.value(subject))}" for subject in found.rounds if subject != TOOLS)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


if __name__ == "__main__":
    kept = ledger.read()
    print("\n".join(markdown(ledger.figures_of(kept))))
    commits = sorted({entry["commit"] for entry in kept["figures"].values()})
    print(f"\n{kept['machine']}; {'commit' if len(commits) == 1 else 'commits'} {', '.join(commits)}")
