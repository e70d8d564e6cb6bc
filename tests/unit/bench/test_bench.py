"""The benchmarks' own arithmetic and readings: a figure that is wrong here would be believed."""

import base64
import json
import struct
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT))  # the benchmarks are run from the checkout, and are no part of the distribution

from bench import apply, asker, fake_triton, figures, ground, live, replay, scale, stand_in, timeline  # noqa: E402
from bench.audit import count_writes  # noqa: E402

from clipmodel_contract import golden  # noqa: E402
from clipmodel_contract.report import VersionRecord, parse_report  # noqa: E402
from clipmodel_operator.api.v1alpha1.clipmodel import parse_clip_model  # noqa: E402
from clipmodel_operator.assessment.pods import is_ready, is_running  # noqa: E402
from clipmodel_operator.models.ledger import Ledger  # noqa: E402
from clipmodel_operator.reconcile.server_steps import read_config  # noqa: E402
from clipmodel_operator.rendering.config_map import render_config_map  # noqa: E402
from clipmodel_operator.rendering.revision import render_revision  # noqa: E402
from support.tiny_onnx import build_tiny_onnx  # noqa: E402

SHA = "ab" * 32


def clip(name: str = "clip-7", **status: Any) -> dict[str, Any]:
    obj = apply.clip_model(name, uri="https://models.example.com/a.onnx", sha256=SHA)
    obj["metadata"] |= {"namespace": "n", "uid": "u", "generation": 2}
    return obj | ({"status": status} if status else {})


def record() -> VersionRecord:
    found = parse_report(stand_in.render_success(version=1, sha256=SHA, vectors=fake_triton.make_vectors()))
    assert isinstance(found, VersionRecord)
    return found


class TestFigures:
    def test_the_median_stands_with_how_far_runs_lie_apart(self) -> None:
        found = figures.spread([3.0, 1.0, 2.0, 10.0, 2.5])
        assert (found.median, found.low, found.high, found.count) == (2.5, 1.0, 10.0, 5)
        assert str(found) == "2.50 (1.00-10.00)"

    def test_a_median_of_nothing_is_no_figure(self) -> None:
        with pytest.raises(ValueError, match="no run"):
            figures.spread([])

    def test_a_ratio_is_of_medians_and_not_of_sums(self) -> None:
        assert figures.ratio([2.0, 2.0, 100.0], [1.0, 1.0, 1.0]) == 2.0

    def test_phases_are_the_seconds_since_the_moment_before(self) -> None:
        assert figures.phases({"a": 1.0, "b": 1.5, "c": 4.0}, ["a", "b", "c"]) == {"a": 1.0, "b": 0.5, "c": 2.5}

    def test_a_moment_that_was_not_seen_gives_its_time_to_the_next(self) -> None:
        assert figures.phases({"a": 1.0, "c": 4.0}, ["a", "b", "c"]) == {"a": 1.0, "c": 3.0}

    def test_a_moment_seen_before_its_predecessor_takes_no_time_and_gives_none_away(self) -> None:
        found = figures.phases({"a": 2.0, "b": 1.0, "c": 3.0}, ["a", "b", "c"])
        assert found == {"a": 2.0, "b": 0.0, "c": 1.0}
        assert sum(found.values()) == 3.0

    def test_columns_line_up(self) -> None:
        assert figures.table(["what", "s"], [["a long name", "1.00"], ["b", "10.00"]]).splitlines() == [
            "what             s",
            "-----------  -----",
            "a long name   1.00",
            "b            10.00",
        ]


class TestApply:
    def test_steps_of_the_sync_are_read_from_its_log(self) -> None:
        log = """2026-11-23T10:00:01.500000000Z fetching http://a/1.onnx: 100 % 351 MB of 351 MB 300 MB/s
2026-11-23T10:00:02.250000123Z checking the model's tensors
2026-11-23T10:00:03.000000000Z embedding the golden images with ONNX Runtime
2026-11-23T10:00:06.000000000Z version 1 is on the volume: /volume/repository/clip/1/model.onnx"""
        marks = apply.read_log_marks(log, started_at=1795428000.0)
        assert marks == {"fetched, digested, flushed": 2.25, "inspected": 3.0, "proven, in place": 6.0}

    def test_what_the_sync_logs_is_what_is_looked_for(self) -> None:
        """A line that was reworded would leave a phase out of the table without a word."""
        program = "".join(p.read_text() for p in (ROOT / "operator" / "clipmodel_sync").glob("*.py"))
        assert all(sign in program for sign, _ in apply.LOG_MARKS)

    def test_every_milestone_of_a_log_is_shown(self) -> None:
        assert {name for _, name in apply.LOG_MARKS} <= set(apply.OPERATOR_ORDER)

    def test_the_report_has_the_ratio_and_both_sides(self) -> None:
        operator = [{"claim made": 0.1, apply.FIRST_ANSWER: 30.0}]
        text = apply.render(operator, [{"claim made": 0.1, apply.FIRST_ANSWER: 20.0}])
        assert "ratio 1.50" in text
        assert "29.90" in text

    def test_the_program_in_the_cluster_compiles(self) -> None:
        compile(asker.program(), "asker", "exec")


class TestTimeline:
    def test_the_first_time_counts(self) -> None:
        seen = timeline.Timeline([timeline.Milestone("bound", "PersistentVolumeClaim", timeline.is_bound)])
        seen.start()
        seen.observe("PersistentVolumeClaim", {"metadata": {}, "status": {"phase": "Pending"}})
        assert seen.marks == {}
        seen.observe("PersistentVolumeClaim", {"metadata": {}, "status": {"phase": "Bound"}})
        first = dict(seen.marks)
        seen.observe("PersistentVolumeClaim", {"metadata": {}, "status": {"phase": "Bound"}})
        assert seen.marks == first
        assert list(first) == ["bound"]

    def test_only_a_pod_of_the_component_counts(self) -> None:
        seen = timeline.Timeline(timeline.server_milestones())
        status = {
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"state": {"running": {}}}],
        }
        seen.observe("Pod", {"metadata": {"labels": {"app.kubernetes.io/component": "sync"}}, "status": status})
        assert seen.marks == {}
        seen.observe("Pod", {"metadata": {"labels": {"app.kubernetes.io/component": "server"}}, "status": status})
        assert set(seen.marks) == {"container runs", "pod ready"}


class TestGround:
    def test_memory_is_read_in_mib(self) -> None:
        assert ground.read_memory_mib("Name:\tpython\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n") == (100.0, 200.0)

    def test_a_variant_has_other_bytes_and_is_the_same_model(self) -> None:
        one = build_tiny_onnx(seed=1)
        two = one + ground.variant_suffix(2)
        assert two != one
        assert two != one + ground.variant_suffix(3)
        assert ground.variant_suffix(1) == b""
        onnx.checker.check_model(two, full_check=True)
        assert onnx.load_from_string(two).graph == onnx.load_from_string(one).graph

    def test_the_report_of_live_edits_names_each(self) -> None:
        edit = {"effect": 2.0, "told": 3.0, "hand": 1.0}
        text = live.render([dict.fromkeys(live.EDITS, edit)])
        assert all(name in text for name in live.EDITS)
        assert text.count("2.00 (2.00-2.00)") == 3

    def test_a_restart_shows(self) -> None:
        def pod(uid: str, count: int) -> dict[str, Any]:
            return {"metadata": {"uid": uid}, "status": {"containerStatuses": [{"restartCount": count}]}}

        assert live.restarts([pod("a", 0)]) != live.restarts([pod("a", 1)])
        assert live.restarts([pod("a", 0)]) != live.restarts([pod("b", 0)])


class TestStandIn:
    def test_each_pod_has_a_loopback_address_of_its_own(self) -> None:
        found = [fake_triton.address(i) for i in range(fake_triton.MOST)]
        assert len(set(found)) == fake_triton.MOST
        assert all(a.startswith("127.1.") and all(0 <= int(p) <= 255 for p in a.split(".")) for a in found)
        with pytest.raises(ValueError, match="addresses"):
            fake_triton.address(fake_triton.MOST)

    def test_its_report_is_one_that_the_operator_reads(self) -> None:
        assert record().sha256 == SHA

    def test_it_says_of_a_config_what_triton_would(self) -> None:
        """The hash is read from the committed text: one that went out of step would look like a server on another config."""
        model = parse_clip_model(clip())
        revision = render_revision(model, {1: SHA})
        rendered = render_config_map(model, Ledger(revision, revision, records=(record(),)))
        expected = revision.config_ids[model.spec.profile.value]
        assert read_config(fake_triton.read_config(rendered["data"])) == (expected, (1,))

    def test_a_config_without_a_proof_is_none_that_a_pod_would_serve(self) -> None:
        revision = render_revision(parse_clip_model(clip()), {1: SHA})
        data = render_config_map(parse_clip_model(clip()), Ledger(revision, records=(record(),)))["data"]
        unproven = {**json.loads(data["versions.json"]), "proofs": {}}
        with pytest.raises(ValueError, match="no proof of config"):
            fake_triton.read_config({**data, "versions.json": json.dumps(unproven)})

    def test_its_answer_is_the_proven_embedding(self) -> None:
        vector = fake_triton.make_vectors()[1]
        body, headers = fake_triton._answer(vector)
        served = golden.infer_response(body, int(headers[golden.HEADER_LENGTH]))
        assert golden.difference(served, golden.decode_vector(vector)) is None

    def test_both_golden_images_begin_differently(self) -> None:
        assert golden.golden_image(0, 224)[:64] != golden.golden_image(1, 224)[:64]

    def test_its_pod_is_ready_for_the_operator(self) -> None:
        owner = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "clip-7", "uid": "d"},
            "spec": {
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {"containers": [{"name": "triton", "image": "i"}]},
                }
            },
        }
        pod = stand_in.render_pod(owner, "clip-7-pod")
        container = stand_in.render_container(pod, state={"running": {}}, is_ready=True)
        conditions = [{"type": "Ready", "status": "True"}]
        pod["status"] = {
            "phase": "Running",
            "podIP": "127.1.0.8",
            "conditions": conditions,
            "containerStatuses": [container],
        }
        assert is_ready(pod)
        assert is_running(pod)
        assert pod["metadata"]["ownerReferences"][0]["uid"] == "d"


class TestReplay:
    def test_what_the_server_added_is_not_sent(self) -> None:
        job = {
            "metadata": {
                "name": "j",
                "uid": "u",
                "resourceVersion": "5",
                "managedFields": [],
                "labels": {"keep": "me"},
                "creationTimestamp": "t",
            },
            "spec": {
                "selector": {"matchLabels": {}},
                "template": {
                    "metadata": {"labels": {"keep": "me", "controller-uid": "u", "batch.kubernetes.io/job-name": "j"}}
                },
            },
            "status": {"succeeded": 1},
        }
        before = json.dumps(job)
        assert replay.as_sent("Job", job) == {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j", "labels": {"keep": "me"}},
            "spec": {"template": {"metadata": {"labels": {"keep": "me"}}}},
        }
        assert json.dumps(job) == before, "the object itself was changed"

    def test_a_service_gets_an_address_of_its_own(self) -> None:
        found = replay.as_sent(
            "Service",
            {"metadata": {"name": "s"}, "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": []}},
        )
        assert found["spec"] == {"ports": []}

    @pytest.mark.parametrize(("total", "number"), [(0, 3), (7, 3), (600, 200), (601, 200)])
    def test_no_write_is_lost_when_they_are_shared_out(self, total: int, number: int) -> None:
        shares = [replay.share(total, i, number) for i in range(number)]
        assert sum(shares) == total
        assert max(shares) - min(shares) <= 1

    def test_the_audit_log_counts_the_operator_alone(self) -> None:
        def entry(**fields: Any) -> str:
            base: dict[str, Any] = {
                "verb": "patch",
                "user": {"username": "kubernetes-admin"},
                "userAgent": "OpenAPI-Generator",
                "objectRef": {"namespace": "n", "resource": "clipmodels", "subresource": "status"},
            }
            return json.dumps(base | fields)

        lines = [
            entry(),
            entry(responseStatus={"code": 409}),
            entry(verb="get"),
            entry(userAgent="clipmodel-bench"),
            entry(user={"username": "system:serviceaccount:kube-system:generic-garbage-collector"}),
            entry(objectRef={"namespace": "other", "resource": "pods"}),
            entry()[:-5],
        ]
        assert count_writes(lines, "n") == {"patch clipmodels/status": 1, "patch clipmodels/status (409)": 1}


class TestScale:
    @pytest.mark.parametrize(
        ("observed", "conditions", "expected"),
        [
            (2, {"Ready": "True"}, True),
            (1, {"Ready": "True"}, False),
            (2, {"Ready": "True", "Reconciling": "True"}, False),
            (2, {"Ready": "False"}, False),
            (2, {}, False),
        ],
    )
    def test_converged_is_ready_of_the_current_spec_with_nothing_under_way(
        self, observed: int, conditions: dict[str, str], *, expected: bool
    ) -> None:
        said = [{"type": kind, "status": status} for kind, status in conditions.items()]
        assert scale.is_converged(clip(observedGeneration=observed, conditions=said)) is expected

    def test_vectors_are_the_same_each_time(self) -> None:
        first = fake_triton.make_vectors()
        assert first == fake_triton.make_vectors()
        assert len(struct.unpack("<512e", base64.b64decode(first[0]))) == 512
