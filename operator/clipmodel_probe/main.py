"""Asks Triton for the golden embeddings of every version in versions.json. Exit status 0: all are right.

Triton opens its port when the model is loaded. Who waits for that here has it at once, and every start of this program costs the loading server
more than the wait. Kubelet counts the runs that fail to the deadline: each takes `PATIENCE_S`, whatever it fails of.
It runs on the Python of the Triton image, 3.10 or newer.
"""

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path

from clipmodel_contract.golden import (
    HEADER_LENGTH,
    decode_vector,
    difference,
    golden_image,
    infer_request,
    infer_response,
)

PATIENCE_S = 5.0


def wait_for_port(host: str, port: int, end: float) -> None:
    """Return when Triton's port is open; end the program at the time `end`."""
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
        except OSError as error:
            if time.monotonic() >= end:
                sys.exit(f"clipmodel: Triton does not answer yet: {error}")
        else:
            return
        time.sleep(0.1)


def ask(address: str, path: str, body: bytes, header_length: int) -> tuple[int, str, bytes]:
    """Send an inference request. Gives status, length of the answer's JSON part, and content; ends the program where there is no answer."""
    connection = http.client.HTTPConnection(address, timeout=20)
    headers = {HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"}
    try:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get(HEADER_LENGTH, ""), answer.read()
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"clipmodel: Triton does not answer yet: {error}")
    finally:
        connection.close()


def prove(end: float) -> None:
    """Compare every golden embedding of every version; ends the program at the first that differs."""
    known = json.loads(Path(os.environ.get("CLIPMODEL_VERSIONS", "/etc/clipmodel/versions.json")).read_text("utf-8"))
    if not known["versions"]:
        sys.exit("clipmodel: versions.json names no version, so nothing can be proven")
    address = os.environ.get("CLIPMODEL_HTTP", "127.0.0.1:8000")
    host, port = address.split(":")
    wait_for_port(host, int(port), end)
    for version, record in sorted(known["versions"].items()):
        for index, vector in enumerate(record["golden"]["vectors"]):
            body, header_length = infer_request(
                golden_image(index, known["imageSize"]),
                input_name=known["input"],
                output_name=known["output"],
                size=known["imageSize"],
            )
            path = f"/v2/models/{known['model']}/versions/{version}/infer"
            status, length, content = ask(address, path, body, header_length)
            if status != http.client.OK:
                said = content[:200].decode(errors="replace")
                sys.exit(f"clipmodel: version {version}: Triton says {status}: {said}")
            try:
                served = infer_response(content, int(length))
            except ValueError as error:
                sys.exit(f"clipmodel: version {version}: Triton's answer cannot be read: {error}")
            found = difference(served, decode_vector(vector), known["minCosine"])
            if found:
                sys.exit(f"clipmodel: version {version}, golden image {index}: {found}")


def run() -> None:
    """Prove; a run that fails takes its time."""
    end = time.monotonic() + float(os.environ.get("CLIPMODEL_PATIENCE_S", PATIENCE_S))
    try:
        prove(end)
    except BaseException:
        time.sleep(max(0.0, end - time.monotonic()))
        raise


if __name__ == "__main__":
    run()
