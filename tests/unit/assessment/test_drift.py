"""Drift: what we rendered counts, what others added does not, and the API server's own writing of a value is the same value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.assessment.drift import holds

json_values = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=4), v, max_size=3),
)


@given(json_values)
def test_anything_holds_itself(value: Any) -> None:
    assert holds(copy.deepcopy(value), value)


@given(
    st.dictionaries(st.text(max_size=4), json_values, max_size=3),
    st.dictionaries(st.text(max_size=4), json_values, max_size=3),
)
def test_added_fields_do_not_count(desired: dict[str, Any], added: dict[str, Any]) -> None:
    assert holds({**added, **desired}, desired)


TOLERATIONS = [{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}]


@pytest.mark.parametrize(
    ("observed", "desired"),
    [
        pytest.param({"a": 1, "b": 2}, {"a": 1}, id="a field was added"),
        pytest.param({"requests": {"cpu": "1", "memory": "1Gi"}}, {"requests": {"cpu": "1000m", "memory": "1024Mi"}}, id="quantities are written another way"),
        pytest.param({"limits": {"nvidia.com/gpu": "1"}}, {"limits": {"nvidia.com/gpu": 1}}, id="a number became a text"),
        pytest.param({"requests": {"cpu": "500u"}}, {"requests": {"cpu": "0.5m"}}, id="less than a thousandth"),
        pytest.param({"sizeLimit": "1Gi"}, {"sizeLimit": "1024Mi"}, id="the size of a volume in memory"),
        pytest.param([{"name": "b"}, {"name": "a", "x": 1}], [{"name": "a"}], id="elements with names, in another order and with others"),
        pytest.param([{"mountPath": "/a", "name": "x"}, {"mountPath": "/b", "name": "x"}], [{"mountPath": "/a", "name": "x"}, {"mountPath": "/b", "name": "x"}], id="one volume mounted twice"),
        pytest.param({"tolerations": TOLERATIONS}, {"tolerations": TOLERATIONS}, id="two tolerations of one key"),
        pytest.param({"args": ["a", "b"]}, {"args": ("a", "b")}, id="what was rendered as a tuple became a list"),
        pytest.param({"labels": {"a": "b", "injected": "yes"}}, {"labels": {"a": "b"}}, id="a label was added"),
    ],
)  # fmt: skip
def test_it_holds_although(observed: Any, desired: Any) -> None:
    assert holds(observed, desired)


@pytest.mark.parametrize(
    ("observed", "desired"),
    [
        pytest.param({"a": 2}, {"a": 1}, id="another value"),
        pytest.param({}, {"a": 1}, id="a field is gone"),
        pytest.param(None, {"a": 1}, id="an object is gone"),
        pytest.param({"a": "x"}, {"a": {"b": 1}}, id="a text where an object was"),
        pytest.param("ab", ["a", "b"], id="a text where a list was"),
        pytest.param(["b", "a"], ["a", "b"], id="arguments in another order"),
        pytest.param(["a", "b", "c"], ["a", "b"], id="an argument more"),
        pytest.param([{"name": "b"}], [{"name": "a"}], id="a container is gone"),
        pytest.param([{"name": "a", "image": "2"}], [{"name": "a", "image": "1"}], id="a container's image"),
        pytest.param({"requests": {"cpu": "2"}}, {"requests": {"cpu": "1"}}, id="another quantity"),
        pytest.param({"labels": {"cpu": "1"}}, {"labels": {"cpu": "1000m"}}, id="what only looks like a quantity"),
        pytest.param({"requests": {"cpu": "much"}}, {"requests": {"cpu": "1"}}, id="no quantity at all"),
        pytest.param({"tolerations": TOLERATIONS[::-1]}, {"tolerations": TOLERATIONS}, id="tolerations in another order"),
        pytest.param({"tolerations": [*TOLERATIONS, {"operator": "Exists"}]}, {"tolerations": TOLERATIONS}, id="a toleration more: the list is one value"),
        pytest.param({"x": True}, {"x": "true"}, id="a text that is no truth"),
        pytest.param({"x": []}, {"x": [{"name": "a"}]}, id="an emptied list"),
    ],
)  # fmt: skip
def test_it_does_not_hold(observed: Any, desired: Any) -> None:
    assert not holds(observed, desired)
