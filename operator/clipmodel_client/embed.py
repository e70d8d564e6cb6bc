"""Sends preprocessed images to a Triton server, over gRPC or HTTP, and gives their embeddings.

One connection, batches of at most 32, a timeout on each request, and every failure of the network and of the
server translated into an error that says what to do. What comes back is checked (one finite row per image),
because a wrong vector in a database is worse than no vector.
"""

import os
import re
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clipmodel_client.errors import (
    ClientError,
    EmbeddingError,
    MissingProgramError,
    NotFoundError,
    RejectedError,
    RequestTimeoutError,
    UnreachableError,
    UsageError,
)
from clipmodel_contract.ports import GRPC_PORT, HTTP_PORT
from clipmodel_contract.tensors import Tensors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

MAX_BATCH = 32  # the default max_batch_size of a ClipModel; 19.3 MB in one request
DEFAULT_TIMEOUT_S = 30.0  # a batch of 32 takes about 4 s on two CPU cores, and may wait behind others

_IMAGE_RANK = 4
_EMBEDDING_RANK = 2
_HTTP_LIBRARIES = ("gevent", "geventhttpclient", "_parser", "rapidjson")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class Protocol(StrEnum):
    """How to speak to the server."""

    GRPC = "grpc"
    HTTP = "http"


class Embedder:
    """A connection to one model on one server.

    Raises:
        MissingProgramError: tritonclient is not installed.
        UsageError: the address is not HOST:PORT.

    """

    def __init__(
        self,
        address: str,
        *,
        model: str,
        protocol: Protocol = Protocol.GRPC,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        max_batch: int = MAX_BATCH,
    ) -> None:
        check_address(address)
        self._address = address
        self._model = model
        self._timeout_s = timeout_s
        self._max_batch = max(1, min(max_batch, MAX_BATCH))
        self._protocol = protocol
        self._library = _import_tritonclient(protocol)
        self._client = self._connect()
        self._signature: Tensors | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def model(self) -> str:
        """Triton's name of the model."""
        return self._model

    def signature(self) -> Tensors:
        """Ask the server, once, what the model takes and gives.

        Raises:
            NotFoundError: the server has no such model.
            RejectedError: the model is not one image in, one embedding out.

        """
        if self._signature is None:
            metadata = self._call(lambda: self._client.get_model_metadata(self._model, **self._metadata_options()))
            self._signature = parse_signature(metadata, model=self._model)
        return self._signature

    def embed(self, images: "Sequence[NDArray[np.float32]] | NDArray[np.float32]") -> "NDArray[np.float32]":
        """Embed preprocessed images (`[3, S, S]` each); one row each, as the model gives it, not normalised.

        Raises:
            ClientError: one of its kinds, for whatever the network or the server did.

        """
        import numpy as np

        signature = self.signature()
        if len(images) == 0:
            return np.empty((0, signature.dimension), dtype=np.float32)
        starts = range(0, len(images), self._max_batch)
        batches = [np.stack(list(images[start : start + self._max_batch])) for start in starts]
        return np.concatenate([self._embed_batch(batch, signature) for batch in batches])

    def _embed_batch(self, batch: "NDArray[np.float32]", signature: Tensors) -> "NDArray[np.float32]":
        size = signature.image_size
        if batch.shape[1:] != (3, size, size):
            raise UsageError(
                f"The images are {list(batch.shape[1:])}, and {self._model} takes [3, {size}, {size}].",
                advice=f"Preprocess with size={size}.",
            )
        tensor = self._library.InferInput(signature.input_name, list(batch.shape), "FP32")
        tensor.set_data_from_numpy(batch)
        output = self._library.InferRequestedOutput(signature.output_name)
        result = self._call(
            lambda: self._client.infer(self._model, [tensor], outputs=[output], **self._infer_options()),
        )
        return check_embeddings(
            result.as_numpy(signature.output_name),
            count=len(batch),
            dimension=signature.dimension,
            model=self._model,
        )

    def _connect(self) -> Any:
        if self._protocol is Protocol.HTTP:
            # No request of ours takes longer than this between two bytes.
            return self._library.InferenceServerClient(
                self._address, connection_timeout=self._timeout_s, network_timeout=self._timeout_s
            )
        # gRPC would send a port-forward through the proxy of the environment, if there is one.
        options = [("grpc.enable_http_proxy", 0)] if _host(self._address) in _LOOPBACK else []
        return self._library.InferenceServerClient(self._address, channel_args=options or None)

    def _metadata_options(self) -> dict[str, Any]:
        if self._protocol is Protocol.HTTP:
            return {}
        return {"as_json": True, "client_timeout": self._timeout_s}

    def _infer_options(self) -> dict[str, Any]:
        return {} if self._protocol is Protocol.HTTP else {"client_timeout": self._timeout_s}

    def _call(self, request: Any) -> Any:
        from tritonclient.utils import InferenceServerException

        try:
            return request()
        except InferenceServerException as error:
            raise self._translate(status=error.status(), message=error.message() or "") from error
        except TimeoutError as error:  # from the HTTP client; before OSError, whose child it is
            raise self._too_late() from error
        except OSError as error:  # refused, reset, no such host
            raise self._nobody(str(error)) from error
        except Exception as error:
            # These libraries' exceptions share no base; anything else is a bug and keeps its traceback. An
            # answer that is not HTTP or not JSON is no Triton server's: a wrong port, or a proxy's page.
            if type(error).__module__.partition(".")[0] in _HTTP_LIBRARIES:
                raise self._nobody(f"{type(error).__name__}: {error}") from error
            raise

    def _translate(self, *, status: str | None, message: str) -> ClientError:
        """Turn tritonclient's one exception class into one of ours."""
        code = (status or "").removeprefix("StatusCode.")
        if code in ("DEADLINE_EXCEEDED", "504", "499"):
            return self._too_late()
        if code == "UNAVAILABLE" and "unknown model" not in message and "is not ready" not in message:
            return self._nobody(message)
        if code in ("NOT_FOUND", "404") or "unknown model" in message.lower():
            return NotFoundError(
                f"The server at {self._address} has no ready model named {self._model}.",
                advice="Pass --model with Triton's name of it (spec.modelName, or the ClipModel's name with "
                "- written as _), and see kubectl get clipmodels for whether it is ready.",
            )
        if code in ("503", "UNAVAILABLE"):
            return UnreachableError(
                f"The server at {self._address} cannot serve {self._model} now: {_short(message)}.",
                advice="It may still be loading: try again in a moment.",
            )
        limit = re.search(r"batch-size must be <= (\d+)", message)
        if limit:
            return RejectedError(
                f"{self._model} takes batches of at most {limit[1]} images.",
                advice=f"Pass --batch-size {limit[1]}.",
            )
        return RejectedError(
            f"{self._model} at {self._address} answered {code or 'with an error'}: {_short(message)}.",
            advice="Look at the server's log.",
        )

    def _nobody(self, detail: str) -> UnreachableError:
        here, there = (GRPC_PORT, f"http port {HTTP_PORT}")
        if self._protocol is Protocol.HTTP:
            here, there = (HTTP_PORT, f"grpc port {GRPC_PORT}")
        return UnreachableError(
            f"No Triton server answers {self._protocol} at {self._address}: {_short(detail)}.",
            advice=f"Check the address ({self._protocol} is usually port {here}; is this the {there}? "
            "then pass the other --protocol) and that the pod is ready.",
        )

    def _too_late(self) -> RequestTimeoutError:
        return RequestTimeoutError(
            f"{self._model} at {self._address} did not answer within {self._timeout_s:g} s.",
            advice="Pass a larger --timeout or smaller --batch-size; a queue that stays full needs replicas.",
        )


def check_address(address: str) -> None:
    """Accept HOST:PORT and nothing else.

    Raises:
        UsageError: anything else, with what to write instead.

    """
    if "://" in address:
        raise UsageError(
            f"{address} has a scheme.",
            advice=f"Write HOST:PORT, as in {address.split('://', 1)[1].strip('/')}.",
        )
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):\d{1,5}", address):
        raise UsageError(f"{address!r} is not HOST:PORT.", advice="Write for example localhost:8001.")


def parse_signature(metadata: dict[str, Any], *, model: str) -> Tensors:
    """Read KServe v2 model metadata; fail where the model is not one of ours.

    Raises:
        RejectedError: other tensors than one FP32 `[n,3,S,S]` in and one FP32 `[n,D]` out.

    """
    inputs, outputs = metadata.get("inputs", []), metadata.get("outputs", [])
    # gRPC gives 64-bit numbers as strings in JSON
    shapes = [[int(number) for number in tensor.get("shape", [])] for tensor in (*inputs, *outputs)]
    if len(inputs) == len(outputs) == 1 and all(tensor["datatype"] == "FP32" for tensor in (*inputs, *outputs)):
        image, embedding = shapes
        is_image = len(image) == _IMAGE_RANK and image[1] == 3 and image[2] == image[3] > 0
        if is_image and len(embedding) == _EMBEDDING_RANK and embedding[1] > 0:
            return Tensors(
                input_name=inputs[0]["name"],
                output_name=outputs[0]["name"],
                image_size=image[2],
                dimension=embedding[1],
            )
    found = ", ".join(
        f"{tensor.get('name')} {shape}" for tensor, shape in zip((*inputs, *outputs), shapes, strict=True)
    )
    raise RejectedError(
        f"{model} is not an image embedding model: it has {found or 'no tensors'}.",
        advice="Expected: FP32 [n, 3, size, size] in and FP32 [n, dimension] out. Pass another --model.",
    )


def check_embeddings(
    vectors: "NDArray[np.float32] | None", *, count: int, dimension: int, model: str
) -> "NDArray[np.float32]":
    """Accept `count` finite rows of `dimension` numbers that are not all zero.

    Raises:
        EmbeddingError: anything else.

    """
    import numpy as np

    advice = "Do not store it. Check the model with clipmodel embed --compare MODEL.onnx, and the server's log."
    if vectors is None or vectors.shape != (count, dimension):
        found = "nothing" if vectors is None else str(list(vectors.shape))
        raise EmbeddingError(f"{model} gave {found} for {count} image(s), not [{count}, {dimension}].", advice=advice)
    if not np.isfinite(vectors).all():
        raise EmbeddingError(f"{model} gave an embedding with values that are not finite.", advice=advice)
    if not vectors.any(axis=1).all():
        raise EmbeddingError(f"{model} gave an embedding that is all zero.", advice=advice)
    return vectors


def normalise(vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Divide each row by its L2 norm, so that a dot product is a cosine.

    Raises:
        EmbeddingError: a row has no direction (all zero), or is not finite.

    """
    import numpy as np

    # In float64: squares of float32 values lose digits, and overflow from 1.8e19 on.
    norms = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise EmbeddingError(
            "An embedding that is zero or not finite cannot be normalised.",
            advice="Leave it out; it is no embedding.",
        )
    directions: NDArray[np.float32] = (vectors / norms).astype(np.float32)
    return directions


def cosines(vectors: "NDArray[np.float32]") -> "NDArray[np.float64]":
    """Give the cosine of each row with each."""
    import numpy as np

    directions = normalise(vectors).astype(np.float64)
    matrix: NDArray[np.float64] = directions @ directions.T
    return matrix


def _import_tritonclient(protocol: Protocol) -> Any:
    # gRPC's C core logs to stderr about each refused connection, above our own message.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        if protocol is Protocol.HTTP:
            import tritonclient.http as library
        else:
            import tritonclient.grpc as library
    except ImportError as error:
        raise MissingProgramError(
            f"The library tritonclient[{protocol}] is not installed.",
            advice="pip install 'clipmodel-operator[client]'",
        ) from error
    return library


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _short(text: str, limit: int = 200) -> str:
    """Put a foreign message onto one line; gRPC's can be a page."""
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= limit else line[: limit - 1] + "…"
