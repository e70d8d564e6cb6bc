"""From release to release: what a released operator rendered of its golden inputs, today's renders too, so that an upgrade restarts no pod and loads nothing.

Golden files show a difference for review; these recordings (tests/data/adoption, by hack/record_release.py) are never made again.
"""

from __future__ import annotations

import pytest

from clipmodel_operator.api.v1alpha1.spec import Profile
from clipmodel_operator.offline import load_clip_model, render_objects
from clipmodel_operator.planning.profile import with_profile
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.config_pbtxt import config_id
from clipmodel_operator.rendering.read_pbtxt import read_config_pbtxt
from clipmodel_operator.rendering.settings import RenderSettings
from support.recordings import read_golden
from support.server_side_apply import Object

GOLDEN = read_golden()


def render(case: str) -> dict[str, Object]:
    """Render a release's input as today: kind -> object."""
    model, profile = load_clip_model(GOLDEN[case]["input"]), GOLDEN[case]["profile"]
    objects = render_objects(with_profile(model, Profile(profile)) if profile else model, RenderSettings())
    return {o["kind"]: o for o in objects}


@pytest.mark.parametrize("case", GOLDEN)
def test_an_upgrade_restarts_no_pod(case: str) -> None:
    template = render(case)["Deployment"]["spec"]["template"]
    assert content_hash(template) == GOLDEN[case]["template"], (
        f"every pod of such a ClipModel restarts at an upgrade: see git diff 8be080b -- tests/golden/{case}"
    )


@pytest.mark.parametrize("case", GOLDEN)
def test_an_upgrade_loads_no_config(case: str) -> None:
    data = render(case)["ConfigMap"]["data"]
    ids = {name: config_id(read_config_pbtxt(text)) for name, text in data.items() if name.endswith(".pbtxt")}
    assert ids == GOLDEN[case]["configs"], "every pod of such a ClipModel loads its model anew at an upgrade"
