from __future__ import annotations

from typing import Any

import pytest

from clipmodel_operator.inspection.ownership import ours, owned_fields

CASES: dict[str, tuple[Any, Any, Any, Any]] = {
    # live, desired, owned, ours
    "what others set is left out": ({"a": 1, "theirs": 2}, {"a": 1}, {"f:a": {}}, {"a": 1}),
    "a value that differs is shown": ({"a": 2}, {"a": 1}, {}, {"a": 2}),
    "what is rendered and not there is not made up": ({}, {"a": 1}, {}, {}),
    "what was rendered and is no more is shown": (
        {"a": 1, "b": {"c": 3}},
        {"a": 1},
        {"f:b": {"f:c": {}}},
        {"a": 1, "b": {"c": 3}},
    ),
    "of it, what others set is left out": ({"b": {"c": 3, "d": 4}}, {}, {"f:b": {"f:c": {}}}, {"b": {"c": 3}}),
    "an atomic map is ours as a whole": ({"b": {"c": 3, "d": 4}}, {}, {"f:b": {}}, {"b": {"c": 3, "d": 4}}),
    "a quantity is compared by value": (
        {"requests": {"cpu": "1"}},
        {"requests": {"cpu": "1000m"}},
        {},
        {"requests": {"cpu": "1000m"}},
    ),
    "a quantity that differs is shown as it is": (
        {"requests": {"cpu": "2"}},
        {"requests": {"cpu": "1000m"}},
        {},
        {"requests": {"cpu": "2"}},
    ),
    "a text that looks like a quantity is a text": (
        {"annotations": {"a": "1"}},
        {"annotations": {"a": "1000m"}},
        {},
        {"annotations": {"a": "1"}},
    ),
    "elements are found by their name": (
        {"env": [{"name": "x", "value": "theirs"}, {"name": "a", "value": "1"}]},
        {"env": [{"name": "a", "value": "1"}]},
        {},
        {"env": [{"name": "a", "value": "1"}]},
    ),
    "an element that is rendered no more is shown": (
        {"env": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
        {"env": [{"name": "a"}]},
        {"f:env": {'k:{"name":"b"}': {".": {}, "f:name": {}}}},
        {"env": [{"name": "a"}, {"name": "b"}]},
    ),
    "elements of two keys are found": (
        {"ports": [{"port": 80, "protocol": "TCP", "nodePort": 30000, "name": "http"}]},
        {},
        {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:port": {}, "f:name": {}}}},
        {"ports": [{"port": 80, "name": "http"}]},
    ),
    "the order is that of what is rendered": (
        {"env": [{"name": "b"}, {"name": "a"}]},
        {"env": [{"name": "a"}, {"name": "b"}]},
        {},
        {"env": [{"name": "a"}, {"name": "b"}]},
    ),
    "defaults within an atomic list are left out": (
        {"tolerations": [{"key": "a", "default": 1}]},
        {"tolerations": [{"key": "a"}]},
        {"f:tolerations": {}},
        {"tolerations": [{"key": "a"}]},
    ),
    "an atomic list of another length is shown as it is": (
        {"args": ["a", "b"]},
        {"args": ["a"]},
        {},
        {"args": ["a", "b"]},
    ),
    "an atomic list that is rendered no more is shown": (
        {"tolerations": [{"key": "a"}]},
        {},
        {"f:tolerations": {}},
        {"tolerations": [{"key": "a"}]},
    ),
}


@pytest.mark.parametrize(("live", "desired", "owned", "expected"), CASES.values(), ids=CASES)
def test_ours_is_what_the_operator_rendered_or_renders(live: Any, desired: Any, owned: Any, expected: Any) -> None:
    found = ours(live, desired, owned)
    assert found == expected
    assert list(found) == list(expected)


def test_only_the_operators_own_entry_counts() -> None:
    entries = [
        {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:theirs": {}}},
        {"manager": "clipmodel-operator", "operation": "Update", "fieldsV1": {"f:created": {}}},
        {"manager": "clipmodel-operator", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
        {"manager": "clipmodel-operator", "operation": "Apply", "fieldsV1": {"f:ours": {}}},
    ]
    assert owned_fields({"metadata": {"managedFields": entries}}) == {"f:ours": {}}
    assert owned_fields({"metadata": {}}) == {}
