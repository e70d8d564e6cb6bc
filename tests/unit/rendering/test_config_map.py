"""The ledger as a ConfigMap: what is written is read again, whole, and nothing that was edited by hand is believed."""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipmodel_contract import golden, proofs
from clipmodel_contract.report import VersionRecord
from clipmodel_operator.api.v1alpha1.clipmodel import ClipModel
from clipmodel_operator.models.ledger import Ledger, find_revision
from clipmodel_operator.models.revision import Revision
from clipmodel_operator.models.spaces import EmbeddingSpace
from clipmodel_operator.rendering.canonical import content_hash
from clipmodel_operator.rendering.config_map import (
    MOUNTED_KEYS,
    config_key,
    mounted_files,
    read_ledger,
    render_config_map,
    render_slot,
)
from clipmodel_operator.rendering.read_pbtxt import read_config_pbtxt
from clipmodel_operator.rendering.revision import render_revision
from support.builders import (
    SHA_1,
    SHA_2,
    SHA_OTHER,
    VECTORS_2,
    VECTORS_OTHER,
    Object,
    build_model,
    build_record,
    build_spec,
)
from support.recordings import STATES, restore
from support.strategies import specs

ONE, TWO = build_record(), build_record(2, sha256=SHA_2, vectors=VECTORS_2)
THREE = build_record(3, sha256=SHA_OTHER, vectors=VECTORS_OTHER)
RECORDS = (ONE, TWO, THREE)


def revision(*versions: int, **fields: Any) -> Revision:
    return render_revision(
        build_model(build_spec(**fields)), {r.version: r.sha256 for r in RECORDS if r.version in versions}
    )


A, B, FAST = revision(1), revision(1, 2), revision(1, batching={"maxQueueDelay": "1ms"})
STRICT = revision(1, verification={"tolerance": "0.99999"})
LEDGER = Ledger(A, A, None, "", (ONE, TWO), (EmbeddingSpace(ONE.vectors),))


def render(ledger: Ledger, model: ClipModel | None = None, **fields: Any) -> Object:
    """Render it as the API server gives it back."""
    rendered: Object = json.loads(json.dumps(render_config_map(model or build_model(), ledger, **fields)))
    return rendered


# What is written is read.

LEDGERS = {
    "nothing is proven yet": Ledger(boot=A, records=(ONE,)),
    "all three are one": LEDGER,
    "one was proven before": Ledger(B, B, A, "", (ONE, TWO)),
    "another one is on trial": Ledger(FAST, A, B, "", (ONE, TWO)),
    "one was proven before of which no record is": Ledger(A, A, revision(3), "", (ONE,)),
    "pods read the second slot": Ledger(A, A, FAST, "b", (ONE,)),
    "a record is of no revision": Ledger(A, A, None, "", RECORDS),
    "the tolerance alone differs": Ledger(STRICT, STRICT, A, "", (ONE,)),
    "there are embedding spaces": replace(LEDGER, spaces=(EmbeddingSpace(ONE.vectors), EmbeddingSpace(THREE.vectors))),
}


@pytest.mark.parametrize("name", LEDGERS)
def test_a_ledger_is_read_as_it_was_written_when(name: str) -> None:
    assert read_ledger(render(LEDGERS[name])) == LEDGERS[name]


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[ClipModel, Ledger]:
    """Draw a ClipModel, and a ledger of revisions of which one is of its spec."""
    model = build_model(draw(specs))
    several = [
        render_revision(m, {r.version: r.sha256 for r in draw(st.sets(st.sampled_from(RECORDS), min_size=1))})
        for m in (model, build_model())
    ]
    boot, proven, previous = (draw(st.sampled_from(several + more)) for more in ([], [None], [None]))
    assert boot is not None
    return model, Ledger(boot, proven, previous, draw(st.sampled_from(["", "b"])), RECORDS)


@given(ledgers())
def test_any_ledger_is_read_as_it_was_written(drawn: tuple[ClipModel, Ledger]) -> None:
    model, ledger = drawn
    rendered = render(ledger, model)
    assert read_ledger(rendered) == ledger
    assert render(read_ledger(rendered), model) == rendered, "and written again it is the same, byte for byte"


@given(ledgers())
def test_what_a_pod_may_run_has_its_proof_and_its_config(drawn: tuple[ClipModel, Ledger]) -> None:
    model, ledger = drawn
    data = render(ledger, model)["data"]
    known = proofs.parse_proofs(data["versions.json"])
    assert ledger.boot is not None
    for profile, config in ledger.boot.configs.items():
        assert read_config_pbtxt(data[config_key(profile)]) == config
        proof = known.proofs[ledger.boot.config_ids[profile]]
        assert (proof.min_cosine, proof.versions) == (ledger.boot.min_cosine, ledger.boot.digests)
    for of in ledger.revisions:
        for config_id in of.config_ids.values():
            assert config_id in known.proofs
            assert {known.vectors[d] is not None for d in of.digests.values()} == {True}


def test_before_anything_is_known_nothing_is_read_and_nothing_written() -> None:
    assert read_ledger(None) == Ledger()
    with pytest.raises(ValueError, match="nothing that a pod could start with"):
        render_config_map(build_model(), Ledger(records=(ONE,)))


# What is in it.


def test_golden_vectors_stand_in_it_once() -> None:
    text = "".join(render(Ledger(B, FAST, A, "", RECORDS))["data"].values())
    counted = Counter({v: text.count(f'"{v}"') for r in RECORDS for v in r.vectors})
    assert set(counted.values()) == {1}


def test_the_proofs_are_of_what_a_pod_may_run_and_of_nothing_else() -> None:
    known = json.loads(render(Ledger(B, FAST, A, "", RECORDS))["data"]["versions.json"])
    assert set(known["proofs"]) == {i for r in (A, B, FAST) for i in r.config_ids.values()}
    assert set(known["golden"]) == {SHA_1, SHA_2}


def test_a_config_is_proven_by_the_tolerance_of_what_counts_first() -> None:
    """Of two revisions that differ in nothing else: what starts, then what is proven."""
    for ledger, of in ((Ledger(STRICT, A, None, "", (ONE,)), STRICT), (Ledger(A, A, STRICT, "", (ONE,)), A)):
        known = json.loads(render(ledger)["data"]["versions.json"])["proofs"]
        assert {p["minCosine"] for p in known.values()} == {of.min_cosine}
        assert read_ledger(render(ledger)) == ledger


def test_a_revision_of_which_a_record_is_missing_is_proven_by_nobody() -> None:
    known = json.loads(render(Ledger(A, A, revision(1, 3), "", (ONE,)))["data"]["versions.json"])
    assert set(known["proofs"]) == set(A.config_ids.values())


def test_both_profiles_configs_are_there_for_pods_of_either() -> None:
    data = render(LEDGER)["data"]
    assert "KIND_CPU" in data["cpu.pbtxt"]
    assert "KIND_GPU" in data["gpu.pbtxt"]


def test_a_ledger_outlives_a_change_of_everything_else() -> None:
    changed = build_model(build_spec(profile="gpu", batching={"maxBatchSize": 8}))
    assert read_ledger(render(LEDGER, changed)) == LEDGER
    assert render(LEDGER, changed)["data"] == render(LEDGER)["data"], "of the spec nothing is in it but its name"


def test_the_largest_fits() -> None:
    """64 versions are what a spec can have; 1 MiB is what a ConfigMap holds, keys and values together, and etcd takes no more than 1.5 MiB at once."""
    vectors = [[(-1) ** (n + i) * (1 + n + i / 512) for n in range(512)] for i in range(golden.IMAGE_COUNT)]
    records = tuple(build_record(n, sha256=f"{n:064x}", vectors=vectors) for n in range(1, 65))
    model = build_model(build_spec(modelName="m" * 63))
    boot, proven, previous = (
        render_revision(
            build_model(build_spec(modelName="m" * 63, batching={"maxQueueDelay": f"{n}ms", "maxBatchSize": 1024})),
            {r.version: r.sha256 for r in records},
        )
        for n in range(1, 4)
    )
    data = render(
        Ledger(boot, proven, previous, "", records, tuple(EmbeddingSpace(r.vectors) for r in records)), model
    )["data"]
    assert sum(len(k.encode()) + len(v.encode()) for k, v in data.items()) < 2**20


# What was edited by hand.

KEYS = ("versions.json", "records.json", "revisions.json")


def _forge(key: str) -> Callable[[dict[str, str]], object]:
    return lambda data: data.update({key: data[key].replace(SHA_1, "3" * 64)})


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(_forge("records.json"), id="another digest"),
        pytest.param(_forge("versions.json"), id="another digest of what serves"),
        pytest.param(_forge("revisions.json"), id="another digest in a revision"),
        pytest.param(lambda data: data.update({"records.json": "{}"}), id="nothing in it"),
        pytest.param(lambda data: data.update({"versions.json": "no JSON"}), id="no JSON"),
        pytest.param(lambda data: data.update({"revisions.json": "[]"}), id="no revisions in it"),
        pytest.param(lambda data: data.pop("versions.json"), id="no versions"),
        pytest.param(lambda data: data.pop("records.json"), id="no records"),
        pytest.param(lambda data: data.pop("revisions.json"), id="no revisions"),
        pytest.param(lambda data: data.clear(), id="no data"),
    ],
)
@pytest.mark.parametrize("is_signed", [False, True], ids=["as it is", "by somebody who hashes it as we do"])
def test_what_was_edited_by_hand_is_not_read(edit: Any, is_signed: bool) -> None:  # noqa: FBT001 - a row
    config_map = render(LEDGER)
    edit(config_map["data"])
    if is_signed:
        content = [config_map["data"][k] for k in KEYS if k in config_map["data"]]
        config_map["metadata"]["annotations"]["clipmodel.dev/content-hash"] = content_hash(content)
    assert read_ledger(config_map) == Ledger()


@pytest.mark.parametrize("key", KEYS)
def test_an_edit_that_leaves_it_whole_is_one_all_the_same(key: str) -> None:
    """The slot, say, or which revision is the proven one, is told by nothing else in it."""
    config_map = render(LEDGER)
    config_map["data"][key] = config_map["data"][key].replace('"slot": ""', '"slot": "b"') + "\n"
    assert read_ledger(config_map) == Ledger()


@given(st.sampled_from(KEYS), st.integers(0, 10**6), st.characters(exclude_categories=["Cs"]))
def test_one_other_character_and_nothing_is_read(key: str, place: int, character: str) -> None:
    config_map = render(LEDGER)
    text = config_map["data"][key]
    at = place % len(text)
    config_map["data"][key] = text[:at] + character + text[at + 1 :]
    assert read_ledger(config_map) == (LEDGER if text[at] == character else Ledger())


@pytest.mark.parametrize("key", sorted({*MOUNTED_KEYS, *KEYS} - set(KEYS)))
def test_an_edit_of_what_is_not_read_back_is_none_of_the_ledger(key: str) -> None:
    config_map = render(LEDGER)
    config_map["data"][key] = "edited"
    assert read_ledger(config_map) == LEDGER


def test_without_annotations_nothing_is_read() -> None:
    config_map = render(LEDGER)
    config_map["metadata"].pop("annotations")
    assert read_ledger(config_map) == Ledger()


# The two slots.


def test_the_second_slot_has_what_pods_read_and_nothing_else() -> None:
    slot = render_slot(build_model(), LEDGER, "b", FAST)
    assert slot["metadata"]["name"] == "clip-config-b"
    assert set(slot["data"]) == set(MOUNTED_KEYS)
    assert read_ledger(slot) == Ledger(), "there is one ledger"
    assert slot["data"]["cpu.pbtxt"] == render(Ledger(FAST, records=(ONE,)))["data"]["cpu.pbtxt"]
    assert set(json.loads(slot["data"]["versions.json"])["proofs"]) == {
        *FAST.config_ids.values(),
        *A.config_ids.values(),
    }


def test_what_pods_of_the_first_slot_read_stays_while_the_second_is_in_use() -> None:
    parked = mounted_files(render(Ledger(FAST, records=(ONE,))))
    in_use = Ledger(A, A, FAST, "b", (ONE,))
    kept = render(in_use, parked=parked)
    assert kept["data"]["cpu.pbtxt"] == parked["cpu.pbtxt"]
    assert kept["data"]["gpu.pbtxt"] == parked["gpu.pbtxt"]
    assert read_ledger(kept) == in_use, "golden vectors are read from it, so they are not parked"
    first = render(replace(in_use, slot=""), parked=parked)
    assert A.config_ids["cpu"] in first["data"]["cpu.pbtxt"], "in use it is written"
    written = render(in_use, first=B, parked=parked)
    assert B.config_ids["cpu"] in written["data"]["cpu.pbtxt"], "new pods are to read it"
    assert read_ledger(written) == in_use


def test_of_a_config_map_that_is_not_there_nothing_is_parked() -> None:
    assert mounted_files(None) == {}
    assert mounted_files({"data": None}) == {}
    assert set(mounted_files(render(LEDGER))) == set(MOUNTED_KEYS)


# What earlier releases wrote.


def recorded(state: str) -> Object:
    (found,) = (
        o
        for o in restore(state).cluster.objects.values()
        if o["kind"] == "ConfigMap" and o["metadata"]["name"].endswith("-config")
    )
    return copy.deepcopy(found)


@pytest.mark.parametrize("state", STATES)
def test_what_an_earlier_release_committed_is_one_revision(state: str) -> None:
    config_map = recorded(state)
    ledger = read_ledger(config_map)
    assert ledger.boot is not None
    assert (ledger.proven, ledger.previous, ledger.slot) == (ledger.boot, None, "")
    shown = json.loads(config_map["data"]["versions.json"])
    assert ledger.versions == tuple(sorted(map(int, shown["versions"])))
    assert ledger.boot.min_cosine == shown["minCosine"]
    for profile, config in ledger.boot.configs.items():
        text = config_map["data"][config_key(profile)]
        assert read_config_pbtxt(text) == config, "as it is, whatever the spec asks for by now"
        assert find_revision(ledger.revisions, profile=profile, config_id=ledger.boot.config_ids[profile])
    written = render_config_map(build_model(), ledger)
    assert read_ledger(written) == ledger, "and it is the same in the new form"
    for record in ledger.records:
        assert isinstance(record, VersionRecord)


OLD_EDITS: dict[str, Callable[[dict[str, str]], object]] = {
    "both configs": lambda data: data.update({"cpu.pbtxt": "edited", "gpu.pbtxt": "edited"}),
    "both configs are gone": lambda data: (data.pop("cpu.pbtxt"), data.pop("gpu.pbtxt")),
    "both configs load other versions": lambda data: data.update(
        {k: data[k].replace("versions: [ 1 ]", "versions: [ 2 ]") for k in ("cpu.pbtxt", "gpu.pbtxt")}
    ),
}


@pytest.mark.parametrize("name", OLD_EDITS)
def test_a_revision_that_was_edited_by_hand_is_not_adopted_and_records_are(name: str) -> None:
    config_map = recorded("at-rest")
    OLD_EDITS[name](config_map["data"])
    ledger = read_ledger(config_map)
    assert (ledger.boot, ledger.proven) == (None, None)
    assert ledger.records


def test_a_config_that_was_edited_by_hand_is_left_out_of_what_is_adopted() -> None:
    config_map = recorded("at-rest")
    config_map["data"]["gpu.pbtxt"] = config_map["data"]["gpu.pbtxt"].replace("KIND_GPU", "KIND_CPU")
    ledger = read_ledger(config_map)
    assert ledger.boot is not None
    assert set(ledger.boot.configs) == {"cpu"}
