"""Whose an object is: whom it wakes, and whether a ClipModel may change what has the name of its own."""

from __future__ import annotations

import pytest

from clipmodel_operator.models import names
from clipmodel_operator.models.names import Key
from clipmodel_operator.models.ownership import is_foreign, is_owned_by, owner_of
from support.builders import NAME, NAMESPACE, UID, Object, build_object

KEY = Key(NAMESPACE, NAME)
OURS = names.labels(NAME, names.COMPONENT_STORAGE)
#: With our label for which model it is, and another's for who manages it.
CLAIMED = {names.LABEL_MODEL: NAME, names.LABEL_MANAGED_BY: "Helm"}
BY_US, BY_A_PREDECESSOR = [{"kind": names.KIND, "uid": UID}], [{"kind": names.KIND, "uid": "of one that is gone"}]


def child(*, labels: Object | None = None, owners: list[Object] | None = None, namespace: str = NAMESPACE) -> Object:
    return {"metadata": {"name": "clip-models", "namespace": namespace, "labels": labels, "ownerReferences": owners}}


#: An object of a name of ours -> whom it wakes, and whether it is somebody else's.
CASES: dict[str, tuple[Object, Key | None, bool]] = {
    "labelled and owned": (child(labels=OURS, owners=BY_US), KEY, False),
    "owned, and its label was taken away": (child(owners=BY_US), None, False),
    "owned by us among others": (child(owners=[*BY_A_PREDECESSOR, *BY_US]), None, False),
    "retained: labelled, without an owner": (child(labels=OURS), KEY, False),
    "labelled, and owned by a predecessor": (child(labels=OURS, owners=BY_A_PREDECESSOR), KEY, False),
    "neither labelled nor owned": (child(), None, True),
    "neither, with labels of somebody's": (child(labels={"app": "shop"}, owners=[]), None, True),
    "owned by another uid": (child(owners=BY_A_PREDECESSOR), None, True),
    "owned by somebody without a uid": (child(owners=[{"kind": "Shop"}]), None, True),
    "labelled for another ClipModel": (child(labels=names.labels("other", names.COMPONENT_STORAGE)), Key(NAMESPACE, "other"), True),
    "labelled for one of this name elsewhere": (child(labels=OURS, namespace="elsewhere"), Key("elsewhere", NAME), True),
    "our label, managed by somebody else": (child(labels=CLAIMED), None, True),
    "managed by us, for no ClipModel": (child(labels={names.LABEL_MANAGED_BY: names.FIELD_MANAGER, names.LABEL_MODEL: ""}), None, True),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_whose_it_is(name: str) -> None:
    obj, wakes, is_others = CASES[name]
    assert owner_of("PersistentVolumeClaim", obj) == wakes
    assert is_foreign("PersistentVolumeClaim", obj, key=KEY, uid=UID) is is_others


def test_a_clip_model_is_its_own_whatever_its_labels_say() -> None:
    clip = build_object()
    clip["metadata"]["labels"] = names.labels("other", names.COMPONENT_SERVER)
    assert owner_of(names.KIND, clip) == KEY


def test_an_owner_is_told_by_its_uid() -> None:
    assert is_owned_by(child(owners=BY_US), UID)
    assert not is_owned_by(child(owners=BY_A_PREDECESSOR), UID)
    assert not is_owned_by({"metadata": {}}, UID)
