"""Bounded traffic with known answers, from inside the cluster through a Service: was a request lost, or answered wrongly?

A pod of standard-library Python sends the golden images at a steady rate and compares every embedding with the one that ONNX Runtime gives here,
of the version that the server says it answered with. Half of its connections are kept, half are made anew for each request, as clients do.
It retries nothing: a failed request is a failed request. What it counts is asked of the pod, at any time.
"""

from __future__ import annotations

import os

# Whoever imports this without tests/conftest.py must not report home either.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import base64
import inspect
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import onnxruntime

from clipmodel_contract import golden
from clipmodel_contract.names import default_model_name
from clipmodel_contract.ports import HTTP_PORT
from support.api import ApiError
from support.cluster import Kubectl, Object, until

IMAGE_SIZE = 224
# 0.6 MB each: enough to have one on the way at any moment of a change, and little beside two cores.
RATE_PER_S = 8.0
WORKERS = 4
#: Where the pod says what it counts.
_PORT = 8080

# Appended to the golden images' own module; a file that says what is known is its one argument.
_PROGRAM = """

import http.client, http.server, threading, time

KNOWN = json.load(open(sys.argv[1]))
IMAGES = [golden_image(k, KNOWN["size"]) for k in range(IMAGE_COUNT)]
EXPECTED = {
    version: [struct.unpack("<%df" % (len(raw) // 4), raw) for raw in map(base64.b64decode, vectors)]
    for version, vectors in KNOWN["answers"].items()
}
LOCK = threading.Lock()
COUNTS = {"sent": 0, "right": 0, "failed": 0, "wrong": 0, "by_version": {}, "told": []}


def told(text):
    if len(COUNTS["told"]) < 20:
        COUNTS["told"].append("%s %s" % (time.strftime("%H:%M:%S", time.gmtime()), text[:300]))


def judge(index, version, vector):
    expected = EXPECTED.get(version)
    if expected is None:
        return "an answer of version %s, which is not known" % version
    if len(vector) != len(expected[index]):
        return "%d values" % len(vector)
    largest = max(abs(a - b) for a, b in zip(vector, expected[index]))
    return None if largest <= 1e-3 else "version %s, image %d: off by %g" % (version, index, largest)


def ask(connection, index):
    body, length = infer_request(IMAGES[index], input_name="image", output_name="embedding", size=KNOWN["size"])
    path = "/v2/models/%s/infer" % KNOWN["model"]
    connection.request("POST", path, body, {HEADER_LENGTH: str(length), "Content-Type": "application/octet-stream"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise OSError("HTTP %d: %s" % (answer.status, content[:200].decode(errors="replace")))
    length = int(answer.headers[HEADER_LENGTH])
    return str(json.loads(content[:length])["model_version"]), infer_response(content, length)


def work(number):
    keeps, connection = KNOWN["keeps"] and number % 2 == 0, None
    gap = KNOWN["workers"] / KNOWN["rate"]
    end, turn = time.monotonic() + KNOWN["duration"], 0
    time.sleep(gap * number / KNOWN["workers"])
    while time.monotonic() < end:
        began, index = time.monotonic(), (turn + number) % IMAGE_COUNT
        turn += 1
        with LOCK:
            COUNTS["sent"] += 1
        try:
            if connection is None:
                connection = http.client.HTTPConnection(KNOWN["host"], KNOWN["port"], timeout=30)
            version, vector = ask(connection, index)
            difference = judge(index, version, vector)
            with LOCK:
                COUNTS["by_version"][version] = COUNTS["by_version"].get(version, 0) + 1
                COUNTS["wrong" if difference else "right"] += 1
                if difference:
                    told("WRONG " + difference)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            with LOCK:
                COUNTS["failed"] += 1
                told("FAILED %r" % error)
            keeps_now = False
        else:
            keeps_now = keeps
        if not keeps_now and connection is not None:
            connection.close()
            connection = None
        time.sleep(max(0.0, gap - (time.monotonic() - began)))


class Reader(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with LOCK:
            text = json.dumps(COUNTS).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(KNOWN["workers"])]
for thread in threads:
    thread.start()
if KNOWN["listen"] is not None:
    reader = http.server.ThreadingHTTPServer(("", KNOWN["listen"]), Reader)
    threading.Thread(target=reader.serve_forever, daemon=True).start()
for thread in threads:
    thread.join()
print(json.dumps(COUNTS), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the requests came to; those on their way are sent and nothing else yet."""

    sent: int = 0
    right: int = 0
    failed: int = 0
    wrong: int = 0
    by_version: Mapping[str, int] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    @property
    def answered(self) -> int:
        return self.right + self.failed + self.wrong

    def since(self, before: Counts) -> Counts:
        """Give what has come since another reading."""
        versions = {v: n - before.by_version.get(v, 0) for v, n in self.by_version.items()}
        return Counts(
            self.sent - before.sent,
            self.right - before.right,
            self.failed - before.failed,
            self.wrong - before.wrong,
            {v: n for v, n in versions.items() if n},
            self.told[len(before.told) :],
        )


def golden_embeddings(onnx: bytes) -> list[np.ndarray]:
    """Embed the golden images with ONNX Runtime, here."""
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    images = [
        np.frombuffer(golden.golden_image(k, IMAGE_SIZE), "<f4").reshape(1, 3, IMAGE_SIZE, IMAGE_SIZE)
        for k in range(golden.IMAGE_COUNT)
    ]
    return [session.run(["embedding"], {"image": image})[0][0] for image in images]


def render_program() -> str:
    return inspect.getsource(golden) + _PROGRAM


def known_answers(
    embeddings: Mapping[int, Sequence[np.ndarray]],
    *,
    host: str,
    model: str,
    rate_per_s: float,
    duration_s: float,
    port: int = HTTP_PORT,
    listen: int | None = None,
    keeps_connections: bool = True,
) -> Object:
    """Put together what the program must know; `embeddings` are those of each version's golden images."""
    return {
        "host": host,
        "port": port,
        "model": model,
        "size": IMAGE_SIZE,
        "rate": rate_per_s,
        "workers": WORKERS,
        "duration": duration_s,
        "listen": listen,
        "keeps": keeps_connections,
        "answers": {
            str(v): [base64.b64encode(e.astype("<f4").tobytes()).decode() for e in vectors]
            for v, vectors in embeddings.items()
        },
    }


def _pod(name: str, image: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "traffic",
                    "image": image,
                    "command": ["python3", "/etc/traffic/program.py", "/etc/traffic/known.json"],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [{"name": "program", "mountPath": "/etc/traffic"}],
                }
            ],
            "volumes": [{"name": "program", "configMap": {"name": name}}],
        },
    }


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests under way."""

    kubectl: Kubectl
    pod: str

    def read(self) -> Counts:
        counts = json.loads(self.kubectl.ask_pod(self.pod, _PORT, "/"))
        return Counts(**{**counts, "told": tuple(counts["told"])})

    def after(self, answers: int) -> Counts:
        """Give the counts once so many more requests than now have been answered, well or not."""
        goal = self.read().answered + answers

        def look() -> Counts | None:
            counts = self.read()
            return counts if counts.answered >= goal else None

        return until(look, f"{answers} more requests are answered", seen=self.read)

    @contextmanager
    def unharmed(self, *, settle: int = 2 * WORKERS) -> Iterator[None]:
        """Fail unless every request that is answered in the block, and a few after it, is answered, and rightly."""
        before = self.read()
        yield
        after = self.after(settle)
        seen = after.since(before)
        assert (seen.failed, seen.wrong) == (0, 0), seen
        # Those on their way longer than the few after it: none is lost without a word.
        assert after.sent - after.answered <= WORKERS, after


@contextmanager
def traffic(
    kubectl: Kubectl,
    *,
    name: str,
    image: str,
    answers: Mapping[int, bytes],
    rate_per_s: float = RATE_PER_S,
    duration_s: float = 1200.0,
    keeps_connections: bool = True,
) -> Iterator[Traffic]:
    """Send requests to the Service `name` for as long as the block runs, at most `duration_s`. `answers` are the ONNX files of versions.

    A connection that is kept ends with its pod: without `keeps_connections` each request has one of its own.
    """
    pod = f"traffic-{uuid.uuid4().hex[:6]}"
    known = known_answers(
        {v: golden_embeddings(onnx) for v, onnx in answers.items()},
        host=name,
        model=default_model_name(name),
        rate_per_s=rate_per_s,
        duration_s=duration_s,
        keeps_connections=keeps_connections,
        listen=_PORT,
    )
    data = {"program.py": render_program(), "known.json": json.dumps(known)}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": pod}, "data": data})
    kubectl.apply(_pod(pod, image))
    kubectl.wait_condition("pod", pod, "Ready")
    sender = Traffic(kubectl, pod)

    def is_sending() -> bool | None:
        try:
            return sender.read().answered > 0 or None
        except ApiError:  # it makes the images first
            return None

    try:
        until(is_sending, "requests are answered", deadline_s=60.0, seen=lambda: kubectl.log(pod))
        yield sender
    finally:
        kubectl.delete("pod", pod)
        kubectl.delete("configmap", pod)
