"""Base class of text-to-image models."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from dmgan.options import ArchitectureOptions

if TYPE_CHECKING:
    from dmgan.models.loss_networks import LossContext
    from dmgan.text.damsm import EncodedCaptions


class Generated(NamedTuple):
    """Output of a generator for B captions of at most T words."""

    images: list[Tensor]  # per side in image_sizes (B, 3, s, s) in [-1, 1]
    attention: list[Tensor] = []  # per attending refinement (B, T, s, s): weight of each word at each pixel
    mean: Tensor | None = None  # (B, condition_dim) of the conditioning augmentation; None: no augmentation
    logvar: Tensor | None = None  # (B, condition_dim)
    gates: list[Tensor] = []  # per refinement with a memory writing gate (B, G, T): G gate values per word


class TextToImageGAN(nn.Module, ABC):
    """A generator and its discriminators.

    The constructor of a subclass takes `(architecture, embedding_dim, **options)`. The module's parameters are those of
    the generator only. Facts that the workflow reads without building the model are in the registry entry
    (dmgan/models/registry.py).
    """

    initial_weights: str = "orthogonal"  # of generator and discriminators: "orthogonal", "normal" or "torch"

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__()
        self.architecture = architecture
        self.embedding_dim = embedding_dim

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Sides in pixels of the images that `generate` returns, ascending; by default one per stage."""
        return self.architecture.sizes

    @property
    def noise_dim(self) -> int:
        """Number of standard-normal values per image: z, then the conditioning augmentation's epsilon.

        Both are arguments of `generate`, so that an image is a pure function of weights, caption and noise.
        """
        return self.architecture.noise_dim + self.architecture.condition_dim

    @property
    def attention_axis(self) -> str:
        """The axis over which attention weights sum to one.

        "word": over a caption's words, at every pixel; "pixel": over the pixels, for every word; "pixel_scaled": over
        the words, in the mean of all pixels.
        """
        return "word"

    @property
    def gates_bounded(self) -> bool:
        """Whether all values of the writing gates are between 0 and 1."""
        return True

    @abstractmethod
    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        """Return one image per side in image_sizes, and the attention of every refinement.

        noise (B, noise_dim), sentence (B, E), words (B, E, T), word_mask (B, T) true at padding. memory (B, C, h, w):
        features of the retrieved images, for a model that retrieves; in training, of the captions' own images.
        """

    @abstractmethod
    def discriminators(self) -> nn.ModuleList:
        """Return new discriminators, one per side in image_sizes (see Discriminator).

        LossOptions.condition of the registry entry states what they read beside an image.
        """

    @property
    def trained_images(self) -> tuple[int, ...]:
        """Positions in image_sizes that the current step trains; a stagewise model trains a part of them.

        In training, `generate` may leave out the images after the last trained position.
        """
        return tuple(range(len(self.image_sizes)))

    def begin_step(self, step: int, steps: int) -> None:
        """Prepare training step `step` of `steps`; a stagewise model chooses the stage to train."""

    def step_of_stage(self, step: int, steps: int) -> int:
        """Return the number of steps before step `step` of `steps` that trained the same stage, for learning rates."""
        return step

    def extra_losses(
        self, generated: Generated, real: list[Tensor], captions: "EncodedCaptions", context: "LossContext"
    ) -> dict[str, Tensor]:
        """Return model-specific losses of the generator, by name and already weighted.

        real: the real images of the captions, per side in image_sizes (B, 3, s, s).
        """
        return {}

    def extra_discriminator_losses(
        self,
        discriminator: nn.Module,
        real: Tensor,
        captions: "EncodedCaptions",
        wrong: "EncodedCaptions | None",
        context: "LossContext",
    ) -> dict[str, Tensor]:
        """Return model-specific losses of one discriminator, by name and already weighted.

        real (B, 3, s, s): the real images of the captions. wrong: captions of random training images, one for each
        real image; None unless LossOptions.wrong_captions is true.
        """
        return {}

    def diagnostics(self, generated: Generated) -> dict[str, Tensor]:
        """Return additional values for history.csv, by name."""
        return {}

    def forward(self, *arguments) -> Generated:
        """Call `generate`."""
        return self.generate(*arguments)
