"""A picture of what is imported for what, and how long it takes: each module is a box over those that it brings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

FIELDS = 3  # of a line of -X importtime
WIDTH, ROW = 1200.0, 18  # pixels
NARROWEST = 0.5  # pixels of a box that is drawn
OF_A_LETTER = 6.2  # pixels
FONT = "font-family='ui-monospace, Menlo, Consolas, monospace' font-size='10'"
COLOURS: Mapping[str, str] = {
    "daemon": "#7aa2f7",
    "aiohttp": "#ffb36b",
    "pydantic": "#f28fb1",
    "pydantic_core": "#f28fb1",
}
OTHERS = "#d7dbe3"


@dataclass(frozen=True)
class Imported:
    """`took` is in microseconds, with all that the module brings."""

    name: str
    took: int
    brings: list["Imported"] = field(default_factory=list)


def imports_of(report: str) -> list[Imported]:
    """From what `-X importtime` prints: a module comes after those that it brings, and is indented by two less."""
    waiting: list[tuple[int, Imported]] = []
    for line in report.splitlines():
        own = line.removeprefix("import time:").split("|")
        if len(own) != FIELDS or not own[0].strip().isdigit():
            continue
        depth = len(own[2]) - len(own[2].lstrip())
        first = next((at for at, (its, _) in enumerate(waiting) if its > depth), len(waiting))
        brings = [module for _, module in waiting[first:]]
        waiting[first:] = [(depth, Imported(own[2].strip(), int(own[1]), brings))]
    return [module for _, module in waiting]


def drawn(title: str, modules: Sequence[Imported]) -> str:
    """An SVG document; a box is as wide as its time, and names it in milliseconds."""
    whole = sum(module.took for module in modules) or 1
    boxes = list(_boxes(modules, at=0.0, row=1, scale=WIDTH / whole))
    height = ROW * (2 + max((row for row, _ in boxes), default=0))
    head = f"<text x='4' y='13'>{escape(title)}: {whole / 1000:.0f} ms</text>"
    size = f"width='{WIDTH:.0f}' height='{height}' viewBox='0 0 {WIDTH:.0f} {height}'"
    background = "<rect width='100%' height='100%' fill='white'/>"
    return "\n".join(
        (
            f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT}>",
            background,
            head,
            *(box for _, box in boxes),
            "</svg>\n",
        )
    )


def _boxes(modules: Sequence[Imported], *, at: float, row: int, scale: float) -> Iterator[tuple[int, str]]:
    """Each with its row, in the order in which they were imported."""
    for module in modules:
        width = module.took * scale
        if width >= NARROWEST:
            yield row, _box(module, at, row, width)
            yield from _boxes(module.brings, at=at, row=row + 1, scale=scale)
        at += width


def _box(module: Imported, at: float, row: int, width: float) -> str:
    colour = COLOURS.get(module.name.partition(".")[0], OTHERS)
    full = f"{module.name} {module.took / 1000:.1f} ms"
    place = f"x='{at:.1f}' y='{row * ROW}' width='{width:.1f}' height='{ROW - 1}' stroke='white' stroke-width='0.5'"
    box = f"<rect {place} fill='{colour}'><title>{escape(full)}</title></rect>"
    labels = (full, module.name, module.name.rpartition(".")[2])
    label = next((label for label in labels if (len(label) + 1) * OF_A_LETTER < width), "")
    return f"{box}<text x='{at + 3:.1f}' y='{row * ROW + 12}'>{escape(label)}</text>" if label else box
