"""Asks the Triton beside it which config it has loaded, and for the golden embeddings of every version in it. Exit status 0: all are right.

Triton opens its port when the model is loaded. Who waits for that here has it at once, and every start of this program costs the loading server
more than the wait. Kubelet counts the runs that fail to the deadline: each takes `PATIENCE_S`, whatever it fails of.
Kubelet ends a run after 60 s. What was right until then is kept in a file, so that the next run goes on there: of this very run of Triton alone,
for the file outlives its container. A run that comes to an end removes it, so that who runs this program by hand has everything asked.
It runs on the Python of the Triton image, 3.10 or newer.
"""

import contextlib
import hashlib
import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import NamedTuple, NoReturn

from clipmodel_contract.control import CONTROL_HEADER, CONTROL_KEY_VARIABLE
from clipmodel_contract.golden import (
    HEADER_LENGTH,
    decode_vector,
    difference,
    golden_image,
    infer_batch_request,
    infer_batch_response,
)
from clipmodel_contract.proofs import LoadedConfig, Proof, Proofs, parse_proofs, read_loaded

PATIENCE_S = 5.0
# Within the 60 s that the Deployment gives a run (timeoutSeconds), the start of Python included.
RUN_S = 55.0
# A request is begun where so many times the longest one's time is left: Triton finishes one that is given up, and the next would wait for it.
SPARE = 1.5


class Comparison(NamedTuple):
    """One request: golden images `first` and following of one version, as many as there are vectors. `key` names all that it compares."""

    version: int
    first: int
    vectors: tuple[str, ...]
    key: str


class Server(NamedTuple):
    """The Triton beside this program: HOST:PORT, the control key, and the time (monotonic, s) by which it must have answered."""

    address: str
    control_key: str
    cut: float


def fail(message: str) -> NoReturn:
    """End the program; what it says is one line, for it becomes the event of a pod."""
    sys.exit(f"clipmodel: {' '.join(message.split())}")


def wait_for_port(host: str, port: int, end: float) -> None:
    """Return when Triton's port is open; end the program at the time `end`."""
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError as error:
            if time.monotonic() >= end:
                fail(f"Triton does not answer yet: {error}")
        else:
            return
        time.sleep(0.1)


def ask(server: Server, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str, bytes]:
    """Send a request. Gives status, length of the answer's JSON part, and content; ends the program where there is no answer."""
    connection = http.client.HTTPConnection(server.address, timeout=max(1.0, server.cut - time.monotonic()))
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get(HEADER_LENGTH, ""), answer.read()
    except (OSError, http.client.HTTPException) as error:
        fail(f"Triton does not answer yet: {error}")
    except ValueError:
        # Not its own words: they have the header's value.
        fail(f"a request cannot be sent: {CONTROL_KEY_VARIABLE} has characters that no header can have")
    finally:
        connection.close()


def ask_loaded(server: Server, model: str) -> LoadedConfig:
    """Ask which config Triton has loaded; ends the program where it does not say."""
    status, _, content = ask(server, "GET", f"/v2/models/{model}/config", b"", {CONTROL_HEADER: server.control_key})
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        fail(
            f"Triton refuses to say which config it has loaded ({status}): it wants another key than that in {CONTROL_KEY_VARIABLE}"
        )
    if status != http.client.OK:
        fail(f"asked for its config of {model}, Triton says {status}: {content[:200].decode(errors='replace')}")
    try:
        return read_loaded(json.loads(content))
    except (ValueError, RecursionError) as error:
        fail(f"the config of {model} that Triton has loaded cannot be read: {error}")


def read_known() -> Proofs:
    """Read the mounted versions.json; ends the program where it cannot be read."""
    try:
        return parse_proofs(
            Path(os.environ.get("CLIPMODEL_VERSIONS", "/etc/clipmodel/versions.json")).read_text("utf-8")
        )
    except (OSError, ValueError) as error:
        fail(f"versions.json cannot be read: {error}")


def find_proof(known: Proofs, loaded: LoadedConfig) -> Proof:
    """Give the proof of what is loaded; ends the program where there is none, or where it is of other versions."""
    proof = known.proofs.get(loaded.config_id)
    if proof is None:
        fail(
            f"Triton has loaded config {loaded.config_id}, and versions.json has no proof of it, only of {', '.join(sorted(known.proofs))}. "
            "The file may come up to 90 s after the config: the next run reads it again"
        )
    if loaded.versions != set(proof.versions):
        fail(
            f"Triton has loaded config {loaded.config_id} with versions {sorted(loaded.versions)}; its proof is of versions {sorted(proof.versions)}"
        )
    return proof


def find_triton_run() -> str | None:
    """Name this very run of Triton: this start of the machine, and PID 1's start, in ticks since then. None: it cannot be told."""
    proc = Path(os.environ.get("CLIPMODEL_PROC", "/proc"))
    try:
        stat = (proc / "1/stat").read_text("utf-8", errors="replace")
        boot = (proc / "sys/kernel/random/boot_id").read_text("ascii").strip()
        # The name in parentheses may hold anything. Where it is not Triton's, the pod shares its processes, and PID 1 outlives a container.
        name, _, fields = stat.partition("(")[2].rpartition(")")
        started = int(fields.split()[19])
    except (OSError, ValueError, IndexError):
        return None
    return f"{boot}/{started}" if name == "tritonserver" and boot and started > 0 else None


def plan(known: Proofs, loaded: LoadedConfig, proof: Proof, triton_run: str | None) -> list[Comparison]:
    """List the comparisons of a proof: one for each version, more where the config takes fewer images at once than there are."""
    size = max(1, loaded.max_batch_size)
    found = []
    for version, sha256 in sorted(proof.versions.items()):
        vectors = tuple(known.vectors[sha256])
        for first in range(0, len(vectors), size):
            some = vectors[first : first + size]
            whole = [triton_run, loaded.config_id, *known[:4], proof.min_cosine, version, sha256, first, some]
            key = hashlib.sha256(json.dumps(whole).encode()).hexdigest()
            found.append(Comparison(version, first, some, key))
    return found


def progress_path() -> Path:
    """Give the file of the progress; its folder outlives the container."""
    return Path(os.environ.get("CLIPMODEL_PROGRESS", "/tmp/clipmodel-probe.json"))  # noqa: S108 - in the container


def read_progress() -> set[str]:
    """Give the keys of the comparisons that were right; none where they cannot be read."""
    try:
        kept = json.loads(progress_path().read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    return {key for key in kept if isinstance(key, str)} if isinstance(kept, list) else set()


def keep_progress(done: AbstractSet[str]) -> None:
    """Write the keys of the comparisons that were right, whole or not at all; where that is not possible, the next run asks again."""
    path = progress_path()
    new = path.with_name(f"{path.name}.new")
    with contextlib.suppress(OSError):
        new.write_text(json.dumps(sorted(done)), "utf-8")
        new.replace(path)


def forget_progress() -> None:
    """Remove the file of the progress."""
    with contextlib.suppress(OSError):
        progress_path().unlink()


def compare(server: Server, known: Proofs, proof: Proof, comparison: Comparison) -> None:
    """Ask for embeddings and compare them; ends the program where one differs, or there is none."""
    version, count = comparison.version, len(comparison.vectors)
    images = [golden_image(comparison.first + i, known.image_size) for i in range(count)]
    body, header_length = infer_batch_request(
        images, input_name=known.input_name, output_name=known.output_name, size=known.image_size
    )
    path = f"/v2/models/{known.model}/versions/{version}/infer"
    headers = {HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"}
    status, length, content = ask(server, "POST", path, body, headers)
    if status != http.client.OK:
        fail(f"version {version}: Triton says {status}: {content[:200].decode(errors='replace')}")
    try:
        served = infer_batch_response(content, int(length), count=count)
    except ValueError as error:
        fail(f"version {version}: Triton's answer cannot be read: {error}")
    for index, (embedding, vector) in enumerate(zip(served, comparison.vectors, strict=True), comparison.first):
        found = difference(embedding, decode_vector(vector), proof.min_cosine)
        if found:
            # A server that is wrong once is asked everything again.
            forget_progress()
            fail(f"version {version}, golden image {index}: {found}")


def prove(end: float, cut: float) -> None:
    """Compare every golden embedding of every loaded version; ends the program at the first that differs, and at the time `cut`."""
    control_key = os.environ.get(CONTROL_KEY_VARIABLE, "")
    if not control_key:
        fail(
            f"{CONTROL_KEY_VARIABLE} is not set: without the control key Triton does not say which config it has loaded"
        )
    server = Server(os.environ.get("CLIPMODEL_HTTP", "127.0.0.1:8000"), control_key, cut)
    host, port = server.address.split(":")
    wait_for_port(host, int(port), end)
    # Only now, when Triton has read its config: the newest that there is.
    known = read_known()
    loaded = ask_loaded(server, known.model)
    proof = find_proof(known, loaded)
    triton_run = find_triton_run()
    comparisons = plan(known, loaded, proof, triton_run)
    done = {c.key for c in comparisons} & (read_progress() if triton_run else set())
    longest = 0.0
    for comparison in comparisons:
        if comparison.key in done:
            continue
        begin = time.monotonic()
        if cut - begin < SPARE * longest:
            fail(
                f"{len(done)} of {len(comparisons)} requests were answered as proven in the time of one run; the next run goes on"
            )
        compare(server, known, proof, comparison)
        longest = max(longest, time.monotonic() - begin)
        done.add(comparison.key)
        if triton_run:
            keep_progress(done)
    if ask_loaded(server, known.model) != loaded:
        fail("Triton has loaded another config meanwhile: the next run asks for that")
    forget_progress()


def run() -> None:
    """Prove; a run that fails takes its time."""
    begin = time.monotonic()
    end = begin + float(os.environ.get("CLIPMODEL_PATIENCE_S", PATIENCE_S))
    try:
        prove(end, begin + RUN_S)
    except BaseException:
        time.sleep(max(0.0, end - time.monotonic()))
        raise


if __name__ == "__main__":
    run()
