"""Lines over a few marked places, as an SVG that needs no script and no font of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

STYLE = {
    "background": "white",
    "plot_background": "white",
    "font_family": "sans-serif",
    "colors": ("#1f6fb4", "#d1711c", "#3a8f4d", "#8a4fa0"),
    "guide_stroke_color": "#dddddd",
    "major_guide_stroke_color": "#bbbbbb",
    "guide_stroke_dasharray": "1,0",
    "major_guide_stroke_dasharray": "1,0",
    "label_font_size": 13,
    "major_label_font_size": 13,
    "legend_font_size": 14,
    "title_font_size": 17,
    "stroke_width": 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The horizontal axis: its marks stand at equal distances, so decades make it logarithmic."""

    title: str
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One value for each mark."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """What is to be seen; ``up`` is the title of the vertical axis, which begins at 0."""

    title: str
    across: Axis
    up: str
    lines: tuple[Line, ...]


def available() -> bool:
    """Say whether the library that draws is installed: nobody measures for an hour and fails at the picture."""
    try:
        import pygal  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def write(drawing: Drawing, path: Path) -> None:
    """Write the SVG."""
    import pygal  # noqa: PLC0415 - see available()
    from pygal.style import Style  # noqa: PLC0415

    chart = pygal.Line(
        style=Style(**STYLE),
        js=(),
        width=900,
        height=500,
        margin_right=50,
        legend_at_bottom=True,
        truncate_legend=-1,
        dots_size=4,
        include_x_axis=True,
        range=(0, max(value for line in drawing.lines for value in line.values)),
        title=drawing.title,
        x_title=drawing.across.title,
        y_title=drawing.up,
        value_formatter=lambda value: f"{value:,.0f}",
    )
    chart.x_labels = drawing.across.marks
    for line in drawing.lines:
        chart.add(line.name, line.values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(chart.render())
