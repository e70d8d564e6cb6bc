"""Canonical JSON and the control key."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.rendering.canonical import canonical_json, content_hash, without_none
from clipmodel_operator.rendering.control_key import derive_control_key, render_control_secret
from support.builders import build_model

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert content_hash(value) == content_hash(dict(reversed(value.items())))
    assert len(content_hash(value)) == 16


@given(json_values)
def test_no_null_is_left_in_an_object(value: object) -> None:
    text = canonical_json(without_none(value))
    assert ":null" not in text.replace('\\"', "").replace('":null"', "")


def test_each_model_has_a_key_of_its_own() -> None:
    assert derive_control_key(b"root", uid="a") == derive_control_key(b"root", uid="a")
    assert len({derive_control_key(root, uid=uid) for root in (b"root", b"other") for uid in "ab"}) == 4


def test_the_secret_is_immutable_and_goes_with_the_resource() -> None:
    model = build_model()
    secret = render_control_secret(model, "k")
    assert secret["immutable"] is True
    assert secret["stringData"] == {"key": "k"}
    assert secret["metadata"]["ownerReferences"] == [model.owner_reference]
