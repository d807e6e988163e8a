"""The registry: registration, options read off constructors, and every error's text."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recambio import registry
from recambio.errors import InputError
from recambio.registry import Card, Registry, check_value, parse_node, registering, type_name


class Shape:
    """The contract of shapes."""


class Colour:
    """The contract of colours."""


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    """A kind with parts that hold parts of another kind."""
    for name in ("REGISTRIES", "KIND_OF_CONTRACT"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    colours: Registry[Any] = Registry("colour", {"depth": "bits a channel"})
    colours.define(Colour)
    kind: Registry[Any] = Registry("shape", {"width": "of the page"})
    kind.define(Shape)

    @colours.register("grey")
    class Grey(Colour):
        def __init__(self, depth: int, level: float = 0.5) -> None:
            self.depth, self.level = depth, level

    @kind.register("circle", Card(claim="Round."))
    class Circle(Shape):
        def __init__(self, width: int, radius: float = 1.0, style: Literal["full", "empty"] = "full") -> None:
            self.width, self.radius, self.style = width, radius, style

    @kind.register("box")
    class Box(Shape):
        """Angular.

        More.
        """

        def __init__(self, side: int, colour: Colour, borders: Sequence[Colour] = ()) -> None:
            self.side, self.colour, self.borders = side, colour, borders

    @kind.register("dot")
    class Dot(Shape):
        pass

    kind.preset("disc", of="circle", radius=3.0)
    return kind


def test_options_are_what_the_context_does_not_supply(shapes: Registry[Any]) -> None:
    assert list(shapes.options("circle")) == ["radius", "style"]
    assert shapes.options("circle")["radius"].default == 1.0 and not shapes.options("circle")["radius"].required
    assert shapes.options("box")["side"].required
    assert shapes.options("dot") == {}
    assert shapes.names() == ["box", "circle", "dot"]


def test_create_hands_over_context_and_options_where_asked_for(shapes: Registry[Any]) -> None:
    circle = shapes.create({"name": "circle", "style": "empty"}, width=7, colour="grey")
    assert (circle.width, circle.radius, circle.style) == (7, 1.0, "empty")
    assert shapes.create("disc", width=1).radius == 3.0
    assert shapes.create({"name": "disc", "radius": 4.0}, width=1).radius == 4.0
    assert type(shapes.create("dot", width=1)).__name__ == "Dot"
    with pytest.raises(TypeError, match="shape 'circle' needs the context 'width', which was not given"):
        shapes.create("circle")


def test_resolve_fills_in_defaults(shapes: Registry[Any]) -> None:
    assert shapes.resolve("disc") == ("circle", {"radius": 3.0, "style": "full"})
    assert shapes.resolve({"name": "circle", "radius": 2}) == ("circle", {"radius": 2, "style": "full"})


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ("cirle", "at: unknown shape 'cirle'. Did you mean 'circle'? Registered: box, circle, disc, dot. "
         "If it is a plugin, list it under plugins:"),
        ("zzz", "at: unknown shape 'zzz'. Registered: box, circle, disc, dot. If it is a plugin, list it under plugins:"),
        ({"name": "circle", "raduis": 1}, "at.raduis: shape 'circle' has no option 'raduis'. Did you mean 'radius'? "
         "Its options: radius, style"),
        ({"name": "dot", "x": 1}, "at.x: shape 'dot' has no option 'x'. Its options: none"),
        ({"name": "circle", "width": 1}, "at.width: 'width' comes from the model and can't be an option of shape 'circle'; "
         "remove it"),
        ({"name": "circle", "radius": "1"}, "at.radius: must be float, but is '1' (str)"),
        ({"name": "circle", "radius": True}, "at.radius: must be float, but is True (bool)"),
        ({"name": "circle", "style": "ful"}, "at.style: must be one of 'full' | 'empty', but is 'ful'; did you mean 'full'?"),
        ("box", "at.side: shape 'box' needs it (int)"),
        (None, "at: None is no part; write the name 'none' for the part that does nothing "
         "(YAML reads no, off, null as other things)"),
        (False, "at: False is no part; write the name 'none' for the part that does nothing "
         "(YAML reads no, off, null as other things)"),
        ({"radius": 1}, "at: a part is a name or {name: ..., option: ...}, but this has no name: {'radius': 1}"),
        (3, "at: a part is a name or {name: ..., option: ...}, not int 3"),
    ],
)  # fmt: skip
def test_what_a_node_can_get_wrong(shapes: Registry[Any], node: Any, problem: str) -> None:
    assert shapes.problems(node, "at") == [problem]
    with pytest.raises(InputError) as caught:
        shapes.create(node, width=1)
    assert caught.value.problems == [problem.removeprefix("at.").removeprefix("at: ")]


def test_all_problems_of_a_node_at_once(shapes: Registry[Any]) -> None:
    found = shapes.problems({"name": "box", "sides": 3, "width": 3})
    assert len(found) == 3 and found[2] == "side: shape 'box' needs it (int)"


def test_parts_within_a_part(shapes: Registry[Any]) -> None:
    page = {"name": "grey", "level": 0.1}
    box = shapes.create({"name": "box", "side": 2}, colour=page, depth=8)
    assert (box.colour.level, box.colour.depth, box.borders) == (0.1, 8, [])
    own = {"name": "box", "side": 2, "colour": "grey", "borders": ["grey", {"name": "grey", "level": 1.0}]}
    box = shapes.create(own, colour=page, depth=8)
    assert box.colour.level == 0.5 and [b.level for b in box.borders] == [0.5, 1.0]
    assert shapes.problems({"name": "box", "side": 2, "colour": {"name": "gray"}}) == [
        "colour: unknown colour 'gray'. Did you mean 'grey'? Registered: grey. If it is a plugin, list it under plugins:"
    ]
    assert shapes.problems({"name": "box", "side": 2, "borders": ["grey", {"name": "grey", "lvel": 1}]}) == [
        "borders[1].lvel: colour 'grey' has no option 'lvel'. Did you mean 'level'? Its options: level"
    ]
    with pytest.raises(InputError, match=r"shape 'box' needs 'colour' \(a colour\)"):
        shapes.create({"name": "box", "side": 2}, depth=8)


def test_a_name_is_taken_once(shapes: Registry[Any]) -> None:
    with pytest.raises(
        ValueError, match=r"shape 'dot' is already registered by .*Dot; choose another name or pass replace=True"
    ):
        shapes.register("dot")(type("Other", (Shape,), {}))
    with pytest.raises(ValueError, match="shape 'disc' is already registered by a preset"):
        shapes.register("disc")(type("Other", (Shape,), {}))
    with pytest.raises(ValueError, match="shape 'dot' is already registered"):
        shapes.preset("dot", of="circle")
    other = type("Other", (Shape,), {})
    shapes.register("dot", replace=True)(other)
    assert shapes.get("dot").cls is other


@pytest.mark.parametrize("name", ["Dot", "a b", "no", "null", "on", "3d", ""])
def test_names_are_snake_case_and_no_yaml_word(shapes: Registry[Any], name: str) -> None:
    with pytest.raises(ValueError, match="a part's name is snake_case and no YAML word"):
        shapes.register(name)(type("Other", (Shape,), {}))


def test_a_part_keeps_its_contract_and_names_its_options(shapes: Registry[Any]) -> None:
    with pytest.raises(TypeError, match=r"shape 'line': Line must inherit Shape \(from .*test_registry\)"):
        shapes.register("line")(type("Line", (), {}))

    def hidden(self: Any, **options: Any) -> None: ...

    with pytest.raises(ValueError, match=r"must name its options, not take \*\*options"):
        shapes.register("line")(type("Line", (Shape,), {"__init__": hidden}))
    assert "line" not in shapes.entries


class Solid(ABC):
    """A contract with everything that a class can break."""

    @abstractmethod
    def cut(self, plane: int, at: float, keep: bool = False) -> list[float]: ...

    @property
    @abstractmethod
    def volume(self) -> float: ...

    def turn(self, angle: float, *, axis: int) -> float:
        return angle * axis


def _cuts(self: Any, plane: int, at: float, keep: bool = False) -> list[float]: ...


def _turns(self: Any, angle: float) -> None: ...


def _cuts_without_an_option(self: Any, plane: int, at: float) -> list[float]: ...


def _cuts_by_another_name(self: Any, plane: int, at: float, stay: bool = False) -> list[float]: ...


def _cuts_with_more(self: Any, plane: int, at: float, keep: bool, depth: int) -> list[float]: ...


def _takes_anything(self: Any, *values: Any, **options: Any) -> list[float]: ...


def _with_an_option_more(self: Any, level: int, where: float, keep: bool = True, depth: int = 0) -> list[float]: ...


CUT = "must take what Solid.cut(self, plane, at, keep=False) takes"


@pytest.mark.parametrize(
    ("methods", "problem"),
    [
        ({}, "Cube must define cut(self, plane, at, keep=False), which Solid leaves open; "
         "Cube must define the property volume, which Solid leaves open"),
        ({"cut": _cuts, "volume": _cuts}, r"volume, line \d+, must be a property; put @property above it"),
        ({"cut": property(_turns), "volume": 1.0}, "cut must be a method, cut(self, plane, at, keep=False); take @property away"),
        ({"cut": _cuts_without_an_option, "volume": 1.0}, r"_cuts_without_an_option(self, plane, at), line \d+, " + CUT),
        ({"cut": _cuts_by_another_name, "volume": 1.0}, r"_cuts_by_another_name(self, plane, at, stay=False), line \d+, " + CUT),
        ({"cut": _cuts_with_more, "volume": 1.0}, r"_cuts_with_more(self, plane, at, keep, depth), line \d+, " + CUT),
        ({"cut": _cuts, "volume": 1.0, "turn": _turns},
         r"_turns(self, angle), line \d+, must take what Solid.turn(self, angle, *, axis) takes"),
    ],
)  # fmt: skip
def test_a_class_that_breaks_its_contract_is_refused_by_name_and_line(
    shapes: Registry[Any], methods: dict[str, Any], problem: str
) -> None:
    shapes.define(Solid)
    expected = re.escape(f"shape 'cube': {problem}").replace(re.escape(r"\d+"), r"\d+")
    with pytest.raises(TypeError, match=f"^{expected}$"):
        shapes.register("cube")(type("Cube", (Solid,), methods))
    assert "cube" not in shapes.entries


@pytest.mark.parametrize("cut", [_cuts, _takes_anything, _with_an_option_more])
def test_a_class_may_take_more_than_its_contract_asks(shapes: Registry[Any], cut: Any) -> None:
    shapes.define(Solid)
    shapes.register("cube")(type("Cube", (Solid,), {"cut": cut, "volume": 1.0}))
    assert shapes.create("cube", width=1).volume == 1.0


def test_a_name_of_another_kind_is_recognised(shapes: Registry[Any]) -> None:
    colours = registry.REGISTRIES["colour"]
    assert shapes.problems("grey") == [
        "unknown shape 'grey'. Did you mean colour 'grey'? Registered: box, circle, disc, dot. "
        "If it is a plugin, list it under plugins:"
    ]
    colours.register("dots")(type("Dots", (Colour,), {}))
    colours.preset("grid", of="grey")
    assert "unknown shape 'dots'. Did you mean 'dot' or colour 'dots'?" in shapes.problems("dots")[0]
    assert "Did you mean colour 'grid'?" in shapes.problems("grid")[0]


def test_an_option_that_nearly_has_the_name_of_the_context(shapes: Registry[Any]) -> None:
    def misspelt(self: Any, widht: int) -> None: ...

    shapes.register("line")(type("Line", (Shape,), {"__init__": misspelt}))
    assert shapes.problems("line") == [
        "widht: shape 'line' needs it (int); if the model is to supply it, its name is 'width'"
    ]


def test_describe(shapes: Registry[Any]) -> None:
    card = shapes.describe("disc")
    assert card["preset_of"] == "circle" and card["preset_options"] == {"radius": 3.0} and card["claim"] == "Round."
    assert shapes.describe("box")["claim"] == "Angular."
    assert shapes.describe("circle")["options"][1] == {"name": "style", "type": "'full' | 'empty'", "default": "full"}
    assert Path(shapes.describe("box")["source_file"]).name == "test_registry.py"


def test_an_example_gives_what_a_part_cannot_be_built_without(shapes: Registry[Any]) -> None:
    @shapes.register("ring", Card(claim="Hollow.", example={"thickness": 2}))
    class Ring(Shape):
        def __init__(self, thickness: int, radius: float = 1.0) -> None:
            self.thickness = thickness

    shapes.preset("thin", of="ring", thickness=1)
    assert shapes.example("ring") == {"name": "ring", "thickness": 2}
    assert shapes.example("thin") == "thin" and shapes.example("circle") == "circle"
    assert shapes.problems("ring") and not shapes.problems(shapes.example("ring"))


def test_origin_and_restore(shapes: Registry[Any]) -> None:
    saved = registry.snapshot()
    with registering("mine.py"), registering("inner.py"):
        shapes.register("line")(type("Line", (Shape,), {}))
    shapes.preset("stroke", of="line")
    assert shapes.get("stroke").origin == "inner.py" and shapes.get("dot").origin is None
    registry.restore(saved)
    assert "line" not in shapes.entries and "stroke" not in shapes.presets
    shapes.register("line")(type("Line", (Shape,), {}))
    assert shapes.get("line").origin is None


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "int"),
        (float | None, "float or null"),
        (Literal["a", 1], "'a' | 1"),
        (list[int], "list of int"),
        (tuple[float, ...], "list of float"),
        (dict[str, int], "mapping"),
        (int | str, "int or str"),
    ],
)
def test_type_names(annotation: Any, text: str) -> None:
    assert type_name(annotation) == text


@pytest.mark.parametrize(
    ("value", "annotation", "fits"),
    [
        (1, float, True), (True, int, False), (True, float, False), (1.0, int, False), (None, int | None, True),
        (None, int, False), ("a", str, True), (1, str, False), ([1, 2], list[int], True), ([1, "a"], list[int], False),
        ("ab", list[str], False), ((1.0, 2), tuple[float, ...], True), ({"a": 1}, dict[str, int], True),
        ({"a": "b"}, Mapping[str, int], False), (object(), Any, True), (1, Literal[True], False), (1, bool, False),
        ("x", int | str, True), ([], int | str, False), ("p", Path, True), (3, Literal[3, "a"], True),
    ],
)  # fmt: skip
def test_check_value(value: Any, annotation: Any, fits: bool) -> None:
    assert (check_value(value, annotation, "key") == []) is fits


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_parse_node_answers_every_value(value: Any) -> None:
    parsed = parse_node(value)
    if isinstance(parsed, str):
        assert not isinstance(value, str)
    else:
        name, options = parsed
        assert value == name or value == {"name": name, **options}
