"""Draw docs/rooms.svg from the code: rooms as boxes, imports as arrows. `make docs` runs it.

Rooms stand in the order that `[tool.importlinter]` in pyproject.toml gives. An arrow goes from a room to a room that it
imports; arrows that follow from others are left out.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

import grimp

ROOT: Final = Path(__file__).parent.parent
PICTURE: Final = ROOT / "docs" / "rooms.svg"
BOX: Final = (112, 34)
GAP: Final = (16, 40)
COLUMN: Final = 470
TOP: Final = 74

Layers = Sequence[Sequence[str]]
Place = tuple[float, float]


def layers_of(package: str) -> list[list[str]]:
    """The rooms of a package, layer by layer from the top, as pyproject.toml orders them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract.get("containers") == [package]]
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def imports_of(graph: grimp.ImportGraph, package: str, rooms: Sequence[str]) -> dict[str, set[str]]:
    """For each room the rooms that it imports directly, without those that are reached through another of them."""
    squashed = {room: f"{package}.{room}" for room in rooms}
    inside = {
        room: {name for name in graph.modules if name == module or name.startswith(f"{module}.")}
        for room, module in squashed.items()
    }
    direct = {
        room: {
            other
            for other in rooms
            if other != room
            and any(graph.find_modules_directly_imported_by(module) & inside[other] for module in inside[room])
        }
        for room in rooms
    }
    return {room: _without_the_implied(direct, room) for room in rooms}


def _without_the_implied(direct: Mapping[str, set[str]], room: str) -> set[str]:
    reached = {further for other in direct[room] for further in _reached(direct, other)}
    return direct[room] - reached


def _reached(direct: Mapping[str, set[str]], room: str) -> set[str]:
    reached: set[str] = set()
    open_rooms = [room]
    while open_rooms:
        for other in direct[open_rooms.pop()] - reached:
            reached.add(other)
            open_rooms.append(other)
    return reached


def picture() -> str:
    """The SVG."""
    graph = grimp.build_graph("shared", "teacher_service", "distill_worker", cache_dir=None)
    packages = {package: layers_of(package) for package in ("teacher_service", "distill_worker")}
    bottom = TOP + max(len(layers) for layers in packages.values()) * (BOX[1] + GAP[1])
    width, height = 2 * COLUMN, bottom + 84
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="system-ui, sans-serif" font-size="13" role="img" aria-label="Rooms and imports">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#8a94a3"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (package, layers) in enumerate(packages.items()):
        parts += _column(graph, package, layers, number * COLUMN, bottom)
    parts += [_wire(), *_shared(bottom, width)]
    return "\n".join([*parts, "</svg>", ""])


def _column(graph: grimp.ImportGraph, package: str, layers: Layers, left: float, bottom: float) -> Iterator[str]:
    middle = left + COLUMN / 2
    yield (
        f'<rect x="{left + 12}" y="14" width="{COLUMN - 24}" height="{bottom - 20}" rx="10" fill="#f6f7f9"'
        ' stroke="#d5dae1"/>'
    )
    yield f'<text x="{middle}" y="42" text-anchor="middle" font-size="16" font-weight="600">{package}</text>'
    places = {
        room: (middle + (index - (len(layer) - 1) / 2) * (BOX[0] + GAP[0]), TOP + row * (BOX[1] + GAP[1]))
        for row, layer in enumerate(layers)
        for index, room in enumerate(layer)
    }
    lanes = {True: 0, False: 0}
    for room, imported in imports_of(graph, package, list(places)).items():
        for other in sorted(imported):
            rows = round((places[other][1] - places[room][1]) / (BOX[1] + GAP[1]))
            if rows <= 1:
                yield _arrow(places[room], places[other])
                continue
            goes_right = places[other][0] >= middle and places[room][0] >= middle
            first = round((places[room][1] - TOP) / (BOX[1] + GAP[1])) + 1
            widest = max(len(layer) for layer in layers[first : first + rows - 1])
            reach = widest * (BOX[0] + GAP[0]) / 2 + 5 * lanes[goes_right]
            lanes[goes_right] += 1
            yield _detour(places[room], places[other], middle + (reach if goes_right else -reach))
    for room, place in places.items():
        yield _box(room, place)


def _arrow(source: Place, target: Place) -> str:
    return f'<path d="M{source[0]} {source[1] + BOX[1]}L{target[0]} {target[1] - 2}" {_LINE}/>'


def _detour(source: Place, target: Place, lane: float) -> str:
    """Round the rooms that stand between, along the vertical line at `lane`."""
    (x, y), (to_x, to_y) = source, target
    y, to_y = y + BOX[1], to_y - 2
    half, bend = GAP[1] / 2, GAP[1]
    return (
        f'<path d="M{x} {y}C{x} {y + half} {lane} {y + half} {lane} {y + bend}L{lane} {to_y - bend}'
        f'C{lane} {to_y - half} {to_x} {to_y - half} {to_x} {to_y}" {_LINE}/>'
    )


_LINE: Final = 'fill="none" stroke="#8a94a3" stroke-width="1.2" marker-end="url(#tip)"'


def _box(room: str, place: Place) -> str:
    x, y = place
    return (
        f'<rect x="{x - BOX[0] / 2}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="6" fill="#ffffff"'
        f' stroke="#3b5b92"/><text x="{x}" y="{y + 22}" text-anchor="middle">{escape(room)}</text>'
    )


def _wire() -> str:
    return (
        f'<text x="{COLUMN}" y="{TOP - 12}" text-anchor="middle" font-size="12" fill="#5a6472">'
        "HTTP: Open Inference Protocol</text>"
        f'<path d="M{COLUMN + 80} {TOP - 4}L{COLUMN - 80} {TOP - 4}" {_LINE}/>'
    )


def _shared(bottom: float, width: float) -> Iterator[str]:
    folder = (ROOT / "shared").iterdir()
    rooms = [path for path in folder if not path.name.startswith("__") and path.suffix in ("", ".py")]
    names = ", ".join(sorted(path.stem for path in rooms))
    yield f'<rect x="12" y="{bottom + 12}" width="{width - 24}" height="60" rx="10" fill="#eef3ea" stroke="#c3d2b5"/>'
    yield (
        f'<text x="{width / 2}" y="{bottom + 36}" text-anchor="middle" font-size="16" font-weight="600">shared</text>'
        f'<text x="{width / 2}" y="{bottom + 58}" text-anchor="middle">{escape(names)}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(picture())
