"""Does the traffic notice? A right answer, a wrong one, one of a version that nobody knows, an error, and a connection that is cut."""

from __future__ import annotations

import http.server
import json
import struct
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from typing_extensions import override

from clipmodel_contract import golden
from support.traffic import IMAGE_SIZE, Counts, known_answers, render_program

VECTORS = [np.arange(4, dtype=np.float32) + k for k in range(golden.IMAGE_COUNT)]
IMAGES = [golden.golden_image(k, IMAGE_SIZE) for k in range(golden.IMAGE_COUNT)]


def _serve(how: str) -> http.server.ThreadingHTTPServer:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            index = next(k for k, image in enumerate(IMAGES) if body.endswith(image))
            if how == "cut":
                self.close_connection = True
                return
            values = [float(x) for x in VECTORS[1 - index if how == "wrong" else index]]
            tensor = struct.pack(f"<{len(values)}f", *values)
            version = "9" if how == "unknown" else "1"
            output = {"name": "embedding", "parameters": {"binary_data_size": len(tensor)}}
            header = json.dumps({"model_version": version, "outputs": [output]}).encode()
            self.send_response(500 if how == "error" else 200)
            self.send_header(golden.HEADER_LENGTH, str(len(header)))
            self.send_header("Content-Length", str(len(header) + len(tensor)))
            self.end_headers()
            self.wfile.write(header + tensor)

        @override
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


@pytest.mark.parametrize(
    ("how", "expected"),
    [("right", "right"), ("wrong", "wrong"), ("unknown", "wrong"), ("error", "failed"), ("cut", "failed")],
)
def test_every_answer_is_counted_as_what_it_is(how: str, expected: str, tmp_path: Path) -> None:
    server = _serve(how)
    known = known_answers(
        {1: VECTORS},
        host="127.0.0.1",
        port=server.server_port,
        model="tiny",
        rate_per_s=40.0,
        duration_s=0.5,
    )
    (tmp_path / "known.json").write_text(json.dumps(known))
    (tmp_path / "program.py").write_text(render_program())
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "known.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    server.shutdown()
    server.server_close()
    counts = Counts(**json.loads(done.stdout))
    assert counts.sent == counts.answered >= 4
    assert {kind: getattr(counts, kind) for kind in ("right", "wrong", "failed") if getattr(counts, kind)} == {
        expected: counts.sent
    }
    assert bool(counts.told) == (expected != "right")
