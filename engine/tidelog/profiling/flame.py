"""A flame graph as one SVG that needs nothing from elsewhere. Pure.

Each box is a function, as wide as the samples in it and in what it called; callers stand below
their callees, threads at the bottom. Names are tooltips and, where there is room, written; they
come from outside and are escaped. Only ticks at which a thread ran are in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

from tidelog.cpu_samples import PYTHON, RUNNING, Frame, NodeSamples
from tidelog.profiling.stages import full_name, is_kernel_call

WIDTH: Final = 1200
ROW: Final = 17
HEAD: Final = 40
FOOT: Final = 8
CHARACTER: Final = 6.6
#: A box that would be narrower is not drawn, nor are those above it.
NARROWEST: Final = 0.4
DEPTH_MAX: Final = 160

THREAD: Final = "thread"
KERNEL: Final = "kernel call"
COLOURS: Final = {
    PYTHON: "#5b8fd6",
    "native": "#e0a14a",
    KERNEL: "#d0605e",
    THREAD: "#a9a9a9",
}

Path = Sequence[tuple[str, str]]


@dataclass
class Box:
    """A function below one caller. kind: of COLOURS."""

    name: str
    kind: str
    ticks: int = 0
    above: dict[tuple[str, str], Box] = field(default_factory=dict)


def kind_of(frame: Frame) -> str:
    return KERNEL if is_kernel_call(frame) else frame.kind


def folded(samples: NodeSamples, prefix: str = "") -> Iterator[tuple[Path, int]]:
    """(kind, name) from the thread on, and ticks, of every stack that ran."""
    names = [(kind_of(frame), full_name(frame)) for frame in samples.frames]
    for stack in samples.stacks:
        if stack.state == RUNNING:
            thread = (THREAD, prefix + samples.threads[stack.thread].name)
            yield [thread, *(names[index] for index in stack.frames)], stack.ticks


def tree(stacks: Iterable[tuple[Path, int]]) -> Box:
    """All stacks from one root on."""
    root = Box("all", THREAD)
    for path, ticks in stacks:
        box = root
        box.ticks += ticks
        for kind, name in path[:DEPTH_MAX]:
            found = box.above.get((kind, name))
            if found is None:
                found = box.above[kind, name] = Box(name, kind)
            box = found
            box.ticks += ticks
    return root


def flame_svg(root: Box, title: str) -> str:
    """The drawing. An empty one says so."""
    placed = list(_placed(root)) if root.ticks else []
    depth = max((level for _, level, _, _ in placed), default=0)
    height = HEAD + (depth + 1) * ROW + FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" '
        f'role="img" font-family="monospace" font-size="11" aria-label="{_text(title)}">',
        f"<title>{_text(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fafafa"/>',
        f'<text x="8" y="16" font-size="13" fill="#222">{_text(title)}</text>',
    ]
    at = 8
    for kind, colour in COLOURS.items():
        parts.append(f'<rect x="{at}" y="22" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{at + 14}" y="31" fill="#222">{kind}</text>')
        at += 34 + int(len(kind) * CHARACTER)
    if not placed:
        parts.append('<text x="400" y="31" fill="#222">no samples</text>')
    for box, level, x, width in placed:
        y = HEAD + (depth - level) * ROW
        share = 100 * box.ticks / root.ticks
        parts.append(
            f"<g><title>{_text(box.name)} ({box.kind}): {box.ticks} samples, {share:.1f} %</title>"
            f'<rect x="{x:.2f}" y="{y}" width="{max(width - 0.3, 0.2):.2f}" height="{ROW - 1}" '
            f'rx="1" fill="{COLOURS[box.kind]}"/>'
        )
        room = int((width - 6) / CHARACTER)
        if room >= 3:
            shown = box.name if len(box.name) <= room else box.name[: room - 1] + "…"
            parts.append(f'<text x="{x + 3:.2f}" y="{y + 12}" fill="#111">{_text(shown)}</text>')
        parts.append("</g>")
    return "\n".join([*parts, "</svg>\n"])


def _placed(root: Box) -> Iterator[tuple[Box, int, float, float]]:
    """(box, level, x, width) of what is wide enough; the widest of a caller's first."""
    waiting = [(root, 0, 0.0)]
    while waiting:
        box, level, x = waiting.pop()
        width = WIDTH * box.ticks / root.ticks
        if width < NARROWEST:
            continue
        yield box, level, x, width
        for above in sorted(box.above.values(), key=lambda one: (-one.ticks, one.name)):
            waiting.append((above, level + 1, x))
            x += WIDTH * above.ticks / root.ticks


def _text(text: str) -> str:
    """Escaped, without what XML does not allow."""
    return escape("".join(c if c.isprintable() else "?" for c in text))


def flame_of(samples: Sequence[NodeSamples]) -> str:
    """One drawing of all nodes."""
    stacks: list[tuple[Path, int]] = []
    for one in samples:
        stacks += folded(one, f"node {one.node_id}, ")
    nodes = ", ".join(str(one.node_id) for one in samples)
    return flame_svg(tree(stacks), f"Tidelog node {nodes}: {sum(t for _, t in stacks)} samples")
