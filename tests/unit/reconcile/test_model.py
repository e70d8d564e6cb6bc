"""What a pass is about: the spec as it is read, the status that was read already, and nodes only where a profile must be chosen."""

from __future__ import annotations

from typing import Any

import pytest

from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.api.v1alpha1.status import ClipModelStatus
from clipmodel_operator.models.errors import ForbiddenError, RetryError, StalledError
from clipmodel_operator.models.observed import Observed
from clipmodel_operator.models.resources import Resource
from clipmodel_operator.reconcile.model import read_model
from support.builders import build_object, build_spec

GPU_NODE = {"status": {"allocatable": {"nvidia.com/gpu": "1"}}}
NO_PROFILE = ClipModelStatus()


class Nodes:
    """An API server that has one node, or an error; notes what was listed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.listed: list[str] = []

    async def list_objects(self, resource: Resource) -> list[dict[str, Any]]:
        self.listed.append(resource.kind)
        if self.error is not None:
            raise self.error
        return [GPU_NODE]


async def test_the_status_that_was_read_already_is_not_read_again() -> None:
    status = ClipModelStatus(serving_versions=[7])
    obj = build_object(build_spec(), status={"servingVersions": [1]})
    assert (await read_model(Nodes(), obj, Observed(), status=status)).status is status


async def test_a_recorded_choice_is_that_of_the_status_that_was_read() -> None:
    nodes = Nodes()
    obj = build_object(build_spec(profile="auto"), status={"profile": "cpu"})
    model = await read_model(nodes, obj, Observed(), status=ClipModelStatus(profile=Profile.GPU))
    assert model.spec.profile is Profile.GPU
    assert nodes.listed == []


async def test_nodes_are_listed_where_nothing_says_the_profile() -> None:
    nodes = Nodes()
    model = await read_model(nodes, build_object(build_spec(profile="auto")), Observed(), status=NO_PROFILE)
    assert model.spec.profile is Profile.GPU
    assert nodes.listed == ["Node"]


@pytest.mark.parametrize(
    ("error", "becomes", "said"),
    [
        (ForbiddenError("nodes is forbidden"), ForbiddenError, "kubectl apply --server-side -k manifests/auto-profile"),
        (RetryError("HTTP 500"), RetryError, "HTTP 500"),
    ],
)
async def test_what_an_error_becomes(error: Exception, becomes: type[Exception], said: str) -> None:
    with pytest.raises(becomes, match=said):
        await read_model(Nodes(error), build_object(build_spec(profile="auto")), Observed(), status=NO_PROFILE)


async def test_a_spec_that_cannot_be_read_asks_nobody() -> None:
    nodes = Nodes()
    with pytest.raises(StalledError, match=r"spec\.profile"):
        await read_model(nodes, build_object({"profile": "tpu"}), Observed(), status=NO_PROFILE)
    assert nodes.listed == []
