"""What every text-to-image model provides."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from dmgan.options import ArchitectureOptions, MatchingOptions

if TYPE_CHECKING:
    from dmgan.companions import Companions
    from dmgan.data.dataset import PreparedDataset
    from dmgan.features import FeatureNetwork
    from dmgan.retrieval import MemoryBank
    from dmgan.text.damsm import Damsm, EncodedCaptions


class Generated(NamedTuple):
    """One pass of a generator over B captions of at most T words."""

    images: list[Tensor]  # per side in image_sizes (B, 3, s, s) in [-1, 1]
    attention: list[Tensor] = []  # per attending refinement (B, T, s, s): weight of each word at each pixel
    mean: Tensor | None = None  # (B, condition_dim) of the conditioning augmentation, where the model has one
    logvar: Tensor | None = None  # (B, condition_dim)
    gates: list[Tensor] = []  # per refinement (B, G, T): memory writing gate of G numbers a word, where there is one


class TextToImageGAN(nn.Module, ABC):
    """A generator, and the discriminators it is trained against.

    A subclass takes `(architecture, embedding_dim, **its own switches)`; its parameters are the generator's.
    """

    needs: frozenset[str] = frozenset()  # frozen networks its further losses read: "perceptual", "captioner"
    companions: "Companions | None" = None  # these networks, during training
    weight_std: float | None = None  # of normal initial weights, where a paper has them (see initialise)
    features: "FeatureNetwork | None" = None  # given by dmgan.features.give_features where reads_features

    def __init__(self, architecture: ArchitectureOptions, embedding_dim: int):
        super().__init__()
        self.architecture = architecture
        self.embedding_dim = embedding_dim

    @property
    def reads_features(self) -> bool:
        """Whether the model needs `features`, the frozen network that architecture.feature_network names."""
        return False

    @property
    def image_sizes(self) -> tuple[int, ...]:
        """Sides of the images that `generate` gives, ascending: every stage's, unless a model makes fewer."""
        return self.architecture.sizes

    @property
    def noise_dim(self) -> int:
        """Standard-normal numbers per image: z, then the conditioning augmentation's epsilon.

        Both are arguments, so that an image is a pure function of weights, caption and noise.
        """
        return self.architecture.noise_dim + self.architecture.condition_dim

    @property
    def attention_axis(self) -> str:
        """What the attention's weights sum to one over.

        "word": over a caption's words, at every pixel; "pixel": over the pixels, for every word; "pixel_scaled": over
        the words, in the mean of all pixels.
        """
        return "word"

    @property
    def gates_bounded(self) -> bool:
        """Whether every number of a writing gate is between 0 and 1."""
        return True

    @abstractmethod
    def generate(self, noise: Tensor, sentence: Tensor, words: Tensor, word_mask: Tensor, memory=None) -> Generated:
        """One image per side in image_sizes, and the attention of every refinement.

        noise (B, noise_dim), sentence (B, E), words (B, E, T), word_mask (B, T) true at padding;
        memory (B, ...) is what the model retrieved: `paired_memory` in training, values of its bank in sampling.
        """

    @abstractmethod
    def discriminators(self) -> nn.ModuleList:
        """New discriminators, one per side in image_sizes (see Discriminator)."""

    @property
    def trained_images(self) -> tuple[int, ...]:
        """Positions in image_sizes of what the present step trains: all, unless stages are trained one by one.

        In training, `generate` may leave out the images behind the last of them.
        """
        return tuple(range(len(self.image_sizes)))

    def begin_step(self, step: int, steps: int) -> None:
        """Called before training's step number `step` of `steps`; a no-op unless stages are trained one by one."""

    def fit_memory(
        self, dataset: "PreparedDataset", damsm: "Damsm", gammas: MatchingOptions, max_words: int
    ) -> "MemoryBank | None":
        """What the memory of sampled images is retrieved from; None unless the model retrieves."""
        return None

    def paired_memory(self, images: list[Tensor]) -> Tensor | None:
        """What `generate` gets as memory in training, made of the captions' own real images; None unless it retrieves.

        images: per side in image_sizes (B, 3, s, s).
        """
        return None

    def further_losses(
        self, generated: Generated, images: list[Tensor], captions: "EncodedCaptions"
    ) -> dict[str, Tensor]:
        """The generator's losses beyond those that all models share, by name and already weighted."""
        return {}

    def diagnostics(self, generated: Generated) -> dict[str, Tensor]:
        """Numbers beside the losses that history.csv keeps, by name; none unless a model has something to watch."""
        return {}

    def further_discriminator_losses(
        self, discriminator: nn.Module, real: Tensor, captions: "EncodedCaptions"
    ) -> dict[str, Tensor]:
        """The losses of one discriminator beyond those that all models share, by name and already weighted.

        real (B, 3, s, s) are the captions' own images.
        """
        return {}

    def forward(self, *arguments) -> Generated:
        """Same as `generate`."""
        return self.generate(*arguments)


@torch.no_grad()
def initialise(network: nn.Module, weight_std: float | None = None) -> None:
    """The released initialisation: orthogonal weights, batch-norm scales N(1, 0.02), linear biases 0.

    With `weight_std` the weights are N(0, weight_std) and all biases 0 instead, as DCGAN has them.
    """
    for module in network.modules():
        name = type(module).__name__
        if name.startswith(("Conv", "Linear")):
            if weight_std is None:
                nn.init.orthogonal_(module.weight)
            else:
                module.weight.normal_(0.0, weight_std)
            if module.bias is not None and (name == "Linear" or weight_std is not None):
                module.bias.zero_()
        elif name == "SpectralNormConv2d":
            nn.init.orthogonal_(module.module.weight_bar)
        elif name.startswith("BatchNorm"):
            module.weight.normal_(1.0, 0.02)
            module.bias.zero_()
