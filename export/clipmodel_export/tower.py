"""The image tower as PyTorch sees it: OpenCLIP's, with the normalisation of pixels in front.

Clients send RGB in [0,1]; the mean and standard deviation that a checkpoint was trained with belong to the
checkpoint, so they are part of the model and not of every client.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from clipmodel_contract.tensors import Tensors
from clipmodel_export.errors import CheckpointError, UnsupportedModelError
from clipmodel_export.model import RandomWeights, Weights
from clipmodel_export.weights import ResolvedWeights, Rgb

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

# Protobuf's limit for one file is 2 GiB; the graph itself takes a few hundred kilobytes.
LARGEST_WEIGHTS_BYTES = 2 * 1024**3 - 16 * 1024**2


@dataclass(frozen=True, slots=True)
class ImageTower:
    """OpenCLIP's image tower in evaluation mode, what it expects of its input, and its tensors."""

    visual: "torch.nn.Module"
    mean: Rgb
    std: Rgb
    tensors: Tensors
    parameters: int
    quick_gelu: bool

    def embed(self, images: "npt.NDArray[np.float32]") -> "npt.NDArray[np.float32]":
        """Embed pixels in [0,1] with PyTorch, normalising apart from the exported module: a second opinion."""
        import numpy as np
        import torch

        mean = np.asarray(self.mean, dtype=np.float64).reshape(1, 3, 1, 1)
        std = np.asarray(self.std, dtype=np.float64).reshape(1, 3, 1, 1)
        normalised = ((images - mean) / std).astype(np.float32)
        with torch.inference_mode():
            result: npt.NDArray[np.float32] = self.visual(torch.from_numpy(normalised)).numpy()
        return result


def load_tower(architecture: str, weights: Weights, resolved: ResolvedWeights) -> ImageTower:
    """Build the architecture, fill it, and keep its image tower.

    Raises:
        CheckpointError: the file is no checkpoint of this architecture.
        UnsupportedModelError: the tower is too large or its output is no plain vector.

    """
    import open_clip
    import torch

    seed = weights.seed if isinstance(weights, RandomWeights) else 0
    # The seed must not leak into the generator of whoever calls us.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        from_file = resolved.checkpoint is not None and not resolved.is_torchscript
        try:
            model = open_clip.create_model(
                architecture,
                pretrained=str(resolved.checkpoint) if from_file else None,
                pretrained_image=False,
                pretrained_text=False,
                precision="fp32",
                device="cpu",
                quick_gelu=resolved.activation.quick_gelu,
            )
            if resolved.is_torchscript and resolved.checkpoint is not None:
                model.load_state_dict(_load_torchscript(resolved.checkpoint), strict=True)
        # Torch, safetensors and pickle each raise their own; all of them mean a file that cannot be used.
        except Exception as error:
            if resolved.checkpoint is None:
                raise
            raise CheckpointError(
                f"{resolved.checkpoint} cannot be loaded into {architecture}: {_first_words(error)}.",
                advice="Give the file of a whole OpenCLIP model (both towers) of this architecture, or name its "
                "own with --architecture.",
            ) from error
    visual: torch.nn.Module = model.visual.eval()
    parameters = sum(parameter.numel() for parameter in visual.parameters())
    if parameters * 4 > LARGEST_WEIGHTS_BYTES:
        raise UnsupportedModelError(
            f"The image tower of {architecture} has {parameters:,} parameters: {parameters * 4:,} bytes in FP32, "
            "more than one ONNX file can hold (2 GiB).",
            advice="Choose a smaller architecture.",
        )
    return ImageTower(
        visual=visual,
        mean=resolved.mean,
        std=resolved.std,
        tensors=_find_tensors(architecture, visual),
        parameters=parameters,
        quick_gelu=_has_quick_gelu(visual),
    )


def build_exportable(tower: ImageTower) -> "torch.nn.Module":
    """Put the normalisation in front of the tower, as one module."""
    import torch

    class NormalisedTower(torch.nn.Module):
        mean: torch.Tensor
        std: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.visual = tower.visual
            self.register_buffer("mean", torch.tensor(tower.mean).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(tower.std).view(1, 3, 1, 1))

        @override
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            embedding: torch.Tensor = self.visual((image - self.mean) / self.std)
            return embedding

    return NormalisedTower().eval()


def _find_tensors(architecture: str, visual: "torch.nn.Module") -> Tensors:
    import torch

    size: Any = getattr(visual, "image_size", None)
    height, width = size if isinstance(size, tuple) else (size, size)
    if not isinstance(height, int) or height != width:
        raise UnsupportedModelError(
            f"{architecture} takes pictures of size {size}, not squares.",
            advice="Choose another architecture.",
        )
    with torch.inference_mode():
        output: Any = visual(torch.zeros(2, 3, height, height))
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise UnsupportedModelError(
            f"The image tower of {architecture} does not answer with one vector per picture.",
            advice="Choose another architecture.",
        )
    return Tensors(image_size=height, dimension=output.shape[1])


def _has_quick_gelu(visual: "torch.nn.Module") -> bool:
    """What was built, not what was asked for: some towers ignore the option."""
    return any(type(module).__name__ == "QuickGELU" for module in visual.modules())


def _load_torchscript(path: Path) -> "dict[str, torch.Tensor]":
    """Take the weights out of one of OpenAI's archives: FP16, and three numbers that are no weights."""
    import torch

    load: Any = torch.jit.load  # it has no types
    state: dict[str, torch.Tensor] = load(str(path), map_location="cpu").state_dict()
    not_weights = ("input_resolution", "context_length", "vocab_size")
    return {name: value.float() for name, value in state.items() if name not in not_weights}


def _first_words(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]} ..."
