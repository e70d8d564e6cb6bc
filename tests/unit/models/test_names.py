"""Names of children are legal for any name that the CRD admits."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from clipmodel_operator.models import names
from support import strategies

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@given(strategies.names, st.integers(1, 2_147_483_647), st.from_regex(re.compile(r"[a-f0-9]{16}"), fullmatch=True))
def test_names_are_dns_labels(name: str, version: int, work_hash: str) -> None:
    for child in (
        names.claim_name(name),
        names.config_map_name(name),
        names.job_name(name, version=version, work_hash=work_hash),
    ):
        assert LABEL.fullmatch(child), child
    assert LABEL.fullmatch(names.secret_name(name[:46], "key"))
    assert len(names.secret_name(name, "key")) <= 253, "a Secret's name is a DNS subdomain, and no label is made of it"


@given(strategies.names)
def test_label_values_fit(name: str) -> None:
    for component in (names.COMPONENT_SERVER, names.COMPONENT_STORAGE, names.COMPONENT_SYNC):
        assert all(len(value) <= 63 for value in names.labels(name, component).values())
        assert names.selector_labels(name).items() <= names.labels(name, names.COMPONENT_SERVER).items()


def test_another_key_is_another_secret() -> None:
    assert names.secret_name("clip", "one") != names.secret_name("clip", "two")
    assert "one" not in names.secret_name("clip", "one")
