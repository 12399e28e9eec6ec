"""The flame graph: sizes, order, colours, and that nothing from outside gets in unescaped."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tests.unit.profiling.samples import node_samples
from tidelog.cpu_samples import NATIVE, RUNNING, Frame, Stack
from tidelog.profiling.flame import COLOURS, KERNEL, WIDTH, flame_of, flame_svg, folded, tree

NAMESPACE = "{http://www.w3.org/2000/svg}"


def boxes(svg: str) -> dict[str, ElementTree.Element]:
    """The rectangle of each function, by its tooltip."""
    found = {}
    for group in ElementTree.fromstring(svg).iter(f"{NAMESPACE}g"):
        title, rect = group.find(f"{NAMESPACE}title"), group.find(f"{NAMESPACE}rect")
        assert title is not None and title.text is not None and rect is not None
        found[title.text] = rect
    return found


def test_boxes_are_as_wide_as_their_samples_and_stand_on_their_callers() -> None:
    found = boxes(flame_of([node_samples()]))
    write = found["libc: pwrite (kernel call): 600 samples, 75.0 %"]
    caller = found["produce_lane: ProduceTask.append_to (native): 600 samples, 75.0 %"]
    loop = found["loop: uv_run (native): 800 samples, 100.0 %"]
    assert abs(float(write.attrib["width"]) - 0.75 * WIDTH) < 1
    assert write.attrib["x"] == caller.attrib["x"]
    assert int(write.attrib["y"]) < int(caller.attrib["y"]) < int(loop.attrib["y"])
    assert not any("epoll" in name for name in found)  # it was asleep there


def test_colours_tell_python_native_and_the_kernel() -> None:
    colours = {
        name.split(" (")[0]: box.attrib["fill"]
        for name, box in boxes(flame_of([node_samples()])).items()
    }
    assert colours["libc: recv"] == COLOURS[KERNEL]
    assert colours["loop: uv_run"] == COLOURS[NATIVE]
    assert colours["tidelog.process.worker_process: run_worker"] == COLOURS["python"]


def test_names_are_escaped() -> None:
    evil = Frame(NATIVE, "m", '<script>alert("x")</script>&\x00\x1b')
    svg = flame_of([node_samples([Stack(0, RUNNING, 5, (0,))], frames=[evil])])
    ElementTree.fromstring(svg)
    assert "<script" not in svg and "\x00" not in svg
    assert not re.search(r"(href|src|onload|url\()", svg)


def test_nothing_sampled_is_said() -> None:
    svg = flame_of([node_samples([])])
    assert "no samples" in svg and not boxes(svg)


def test_what_is_too_narrow_is_not_drawn() -> None:
    paths = [([("native", "wide")], 100_000), ([("native", "narrow"), ("native", "above")], 1)]
    svg = flame_svg(tree(paths), "t")
    assert "wide" in svg and "narrow" not in svg and "above" not in svg


def test_nodes_stand_side_by_side() -> None:
    both = [node_samples(), node_samples(node_id=2)]
    names = boxes(flame_of(both))
    assert any(name.startswith("node 1, loop") for name in names)
    assert any(name.startswith("node 2, loop") for name in names)
    assert sum(ticks for _, ticks in folded(both[0])) == 800


def test_a_stack_that_is_too_deep_ends() -> None:
    path = [("native", f"f{number}") for number in range(10_000)]
    assert len(flame_svg(tree([(path, 10)]), "deep")) < 100_000
