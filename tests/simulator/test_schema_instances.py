"""JSON Schema to an instance: what comes out is valid, by jsonschema's word."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genai_spine.model.errors import InvalidRequest
from genai_spine.providers.instances import FORMATS, instance_of

KEYWORDS = [
    *("type", "properties", "required", "items", "minItems", "uniqueItems", "minLength", "pattern", "format"),
    *(
        "minimum",
        "maximum",
        "multipleOf",
        "anyOf",
        "allOf",
        "enum",
        "default",
        "prefixItems",
        "minProperties",
        "$ref",
    ),
]
names = st.sampled_from(["city", "unit", "when", "n", "tags", "who"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.text(max_size=3))


@st.composite
def bounds(draw: Any, low_key: str, high_key: str, lowest: int = 0, highest: int = 6) -> dict[str, int]:
    low, room = draw(st.integers(lowest, highest)), draw(st.integers(0, 4))
    chosen = {low_key: low, high_key: low + room}
    return {key: chosen[key] for key in draw(st.sets(st.sampled_from(sorted(chosen))))}


@st.composite
def numbers(draw: Any, kind: str) -> dict[str, Any]:
    low = draw(st.integers(-20, 20))
    schema: dict[str, Any] = {"type": kind}
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["minimum", "exclusiveMinimum"]))] = low
    if draw(st.booleans()):
        schema[draw(st.sampled_from(["maximum", "exclusiveMaximum"]))] = low + draw(st.integers(8, 20))
    if draw(st.booleans()):
        schema["multipleOf"] = draw(st.integers(1, 3))
    return schema


leaves = st.one_of(
    st.just({"type": "null"}),
    st.just({"type": "boolean"}),
    numbers("integer"),
    numbers("number"),
    bounds("minLength", "maxLength").map(lambda more: {"type": "string", **more}),
    st.sampled_from(sorted(FORMATS)).map(lambda form: {"type": "string", "format": form}),
    st.lists(scalars, min_size=1, max_size=3).map(lambda options: {"enum": options}),
    scalars.map(lambda value: {"const": value}),
    st.just({"type": ["string", "null"]}),
    st.just({}),
    st.just(True),
)


def grown(inner: Any) -> Any:
    members = st.dictionaries(names, inner, max_size=4)
    objects = members.flatmap(
        lambda properties: st.builds(
            lambda required, closed, least: {
                "type": "object",
                "properties": properties,
                "required": sorted(required),
                **({"additionalProperties": False} if closed else {"minProperties": least}),
            },
            st.sets(st.sampled_from(sorted(properties))) if properties else st.just(set()),
            st.booleans(),
            st.integers(0, 3),
        )
    )
    arrays = st.builds(
        lambda items, more: {"type": "array", "items": items, **more}, inner, bounds("minItems", "maxItems")
    )
    tuples = st.lists(inner, min_size=1, max_size=3).map(
        lambda first: {"type": "array", "prefixItems": first, "minItems": len(first)}
    )
    contains = inner.map(lambda wanted: {"type": "array", "contains": wanted})
    either = st.lists(inner, min_size=1, max_size=3).map(lambda branches: {"anyOf": branches})
    both = members.map(
        lambda properties: {
            "allOf": [
                {"type": "object", "properties": {key: schema}, "required": [key]} for key, schema in properties.items()
            ]
            or [{}]
        }
    )
    referred = inner.map(lambda schema: {"type": "object", "properties": {"a": schema}, "required": ["a"]})
    return st.one_of(objects, arrays, tuples, contains, either, both, referred)


schemas = st.recursive(leaves, grown, max_leaves=8)


@given(schemas)
@settings(max_examples=150)
def test_an_instance_is_valid(schema: Any):
    jsonschema.validate(instance_of(schema), schema)


@given(schemas, names)
@settings(max_examples=60)
def test_an_instance_through_references_is_valid(schema: Any, name: str):
    document = {
        "type": "object",
        "properties": {
            "one": {"$ref": f"#/$defs/{name}"},
            "more": {"type": "array", "items": {"$ref": "#/$defs/a~1b"}},
        },
        "required": ["one", "more"],
        "$defs": {name: schema, "a/b": {"$ref": f"#/$defs/{name}"}},
    }
    jsonschema.validate(instance_of(document), document)


@given(schemas)
@settings(max_examples=50)
def test_the_same_schema_gives_the_same_instance(schema: Any):
    assert instance_of(schema) == instance_of(schema)


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        (
            {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            {"city": "city"},
        ),
        ({"type": "object", "properties": {"city": {"type": "string"}}}, {}),
        ({"type": "object", "required": ["anything"]}, {"anything": "anything"}),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True}, [0, 1, 2]),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True}, ["a", "b"]),
        ({"type": "integer", "minimum": 12345678901234567890123}, 12345678901234567890123),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}, 0.125),
        ({"type": "string", "default": "metric"}, "metric"),
        ({"type": "string", "pattern": "^[A-Z]{3}$"}, "ABC"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, None),
        ({"oneOf": [False, {"const": 3}]}, 3),
        ({"type": "string", "allOf": [{"minLength": 2}, {"maxLength": 2}]}, "va"),
        ({"properties": {"a": {"const": 1}}, "required": ["a"]}, {"a": 1}),
    ],
)
def test_small_instances(schema: Any, instance: Any):
    assert instance_of(schema) == instance
    jsonschema.validate(instance, schema)


def test_a_recursive_schema_comes_to_an_end():
    tree = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "value": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["value", "next", "children"],
            }
        },
        "$ref": "#/$defs/node",
    }
    assert instance_of(tree) == {"value": 0, "next": None, "children": []}


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"$ref": "#/$defs/gone"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "colour"},
        {"type": "integer", "minimum": 1, "maximum": 0},
        {"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True},
        {"type": "string", "pattern": "("},
        {"type": "string", "pattern": "^(?!)"},
        {"anyOf": []},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        3,
    ],
)  # fmt: skip
def test_what_has_no_instance_is_an_invalid_request(schema: Any):
    with pytest.raises(InvalidRequest, match="no value was found for the schema"):
        instance_of(schema)


anything = st.recursive(
    st.one_of(scalars, st.floats(), st.just(10**12)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4)),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(KEYWORDS), anything, max_size=4))
@settings(max_examples=150)
def test_nonsense_is_an_invalid_request_or_answered(schema: Any):
    try:
        instance_of(schema)
    except InvalidRequest:
        pass
