"""Triton over HTTP (KServe v2), one pod at a time: through the Service a request would reach any of them."""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp

from clipmodel_operator.models import golden
from clipmodel_operator.models.clipmodel import Tensors
from clipmodel_operator.models.errors import RetryError

# A golden image is 0.6 MB and takes about 0.1 s on two cores; behind a full queue it may wait.
_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
_PORT = 8000


@dataclass(slots=True)
class TritonClient:
    """Asks single pods by address."""

    session: aiohttp.ClientSession

    async def embed_golden(
        self, address: str, *, model: str, version: int, tensors: Tensors, index: int
    ) -> tuple[float, ...]:
        """Embed golden image `index`. Gives `tensors.dimension` values; raises RetryError where the pod does not answer with an embedding."""
        body, header_length = golden.infer_request(
            golden.golden_image(index, tensors.image_size),
            input_name=tensors.input_name,
            output_name=tensors.output_name,
            size=tensors.image_size,
        )
        host = f"[{address}]" if ":" in address else address
        url = f"http://{host}:{_PORT}/v2/models/{model}/versions/{version}/infer"
        headers = {golden.HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"}
        try:
            async with self.session.post(url, data=body, headers=headers, timeout=_TIMEOUT) as answer:
                content = await answer.read()
                if answer.status != 200:
                    raise RetryError(f"Triton answers HTTP {answer.status}: {content[:200].decode(errors='replace')}")
                return golden.infer_response(content, int(answer.headers[golden.HEADER_LENGTH]))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise RetryError(f"Triton does not answer: {error!r}") from error
        except (KeyError, ValueError) as error:
            raise RetryError(f"Triton's answer cannot be read: {error}") from error
