"""The DAMSM's text and image encoders (AttnGAN, section 3.2). Parameter names equal those of the released weights."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dmgan.runtime.device import to_device
from dmgan.text.efficientnet_lite import CHANNELS, SIDE, EfficientNetLite0, pooled

WORD_EMBEDDING_DIM = 300
_INCEPTION_SIZE = 299
_PLACES = 4  # side of the feature map that the small encoder's embedding reads


class TextEncoder(nn.Module):
    """Bidirectional LSTM: token ids -> word features and a sentence feature."""

    def __init__(self, vocabulary_size: int, embedding_dim: int = 256, dropout: float = 0.5):
        super().__init__()
        self.embedding_dim = embedding_dim
        self.encoder = nn.Embedding(vocabulary_size, WORD_EMBEDDING_DIM)
        self.drop = nn.Dropout(dropout)
        self.rnn = nn.LSTM(WORD_EMBEDDING_DIM, embedding_dim // 2, batch_first=True, bidirectional=True)
        nn.init.uniform_(self.encoder.weight, -0.1, 0.1)

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return word features (B, E, T), zero at padding, and sentence features (B, E).

        tokens (B, T') padded with 0; lengths (B,), on the CPU; T is the longest length.
        """
        # Sort here: enforce_sorted=False would wait for the device twice.
        lengths, order = lengths.sort(descending=True)
        places, order = to_device(order.argsort(), tokens.device), to_device(order, tokens.device)
        embedded = self.drop(self.encoder(tokens)).index_select(0, order)
        output, (last, _) = self.rnn(pack_padded_sequence(embedded, lengths, batch_first=True))
        words, _ = pad_packed_sequence(output, batch_first=True)
        words, last = words.index_select(0, places), last.index_select(1, places)
        return words.transpose(1, 2), last.transpose(0, 1).flatten(1)

    def padded(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features that `forward` returns, for tokens (B, T) with their mask (B, T), true at padding.

        All shapes are static and the host reads no lengths, so that a CUDA graph can hold the pass. The backward
        direction reads every caption reversed, with the padding behind the words.
        """
        embedded, lengths = self.drop(self.encoder(tokens)), (~mask).sum(dim=1)
        position = torch.arange(tokens.shape[1], device=tokens.device)[None]
        reversing = torch.where(mask, position, lengths[:, None] - 1 - position)
        forward = self._one_direction(embedded, self.rnn._flat_weights[:4])
        backward = self._one_direction(_reordered(embedded, reversing), self.rnn._flat_weights[4:])
        last = [_reordered(each, lengths[:, None] - 1)[:, 0] for each in (forward, backward)]
        words = torch.cat([forward, _reordered(backward, reversing)], dim=2).masked_fill(mask[:, :, None], 0.0)
        return words.transpose(1, 2), torch.cat(last, dim=1)

    def _one_direction(self, embedded: Tensor, weights: list[Tensor]) -> Tensor:
        """Return the outputs (B, T, E / 2) of one direction of the LSTM for embedded (B, T, W)."""
        start = embedded.new_zeros(1, len(embedded), self.rnn.hidden_size)
        with warnings.catch_warnings():
            # cuDNN copies the weights of a direction into one block first, and warns of it.
            warnings.filterwarnings("ignore", message="RNN module weights")
            output, _, _ = torch.lstm(embedded, (start, start), weights, True, 1, 0.0, self.training, False, True)
        return output


def _reordered(x: Tensor, index: Tensor) -> Tensor:
    """Return rows index (B, S) of every sample of x (B, T, C): (B, S, C)."""
    return x.gather(1, index[:, :, None].expand(-1, -1, x.shape[2]))


class ImageEncoder(nn.Module):
    """Base class of image encoders: a convolutional trunk with the two heads of the DAMSM.

    A subclass provides `trunk(images) -> (feature map, pooled vector)`.
    """

    resizes_images = False  # whether the trunk accepts images of any side and resizes them

    def __init__(self, map_channels: int, pooled_channels: int, embedding_dim: int):
        super().__init__()
        self.emb_features = nn.Conv2d(map_channels, embedding_dim, kernel_size=1, bias=False)
        self.emb_cnn_code = nn.Linear(pooled_channels, embedding_dim)
        nn.init.uniform_(self.emb_features.weight, -0.1, 0.1)
        nn.init.uniform_(self.emb_cnn_code.weight, -0.1, 0.1)

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return feature map (B, C, h, w) and pooled vector (B, D) of images (B, 3, s, s) in [-1, 1]."""
        raise TypeError(f"{type(self).__name__} has no trunk; use one of its subclasses")

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that DAMSM pretraining updates."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return regions (B, E, h, w) and embedding (B, E) of images (B, 3, s, s) in [-1, 1]."""
        feature_map, pooled = self.trunk(images)
        return self.emb_features(feature_map), self.emb_cnn_code(pooled)


class InceptionImageEncoder(ImageEncoder):
    """Inception-v3 encoder: regions from Mixed_6e's 17x17 map, embedding from the average-pooled Mixed_7c.

    Images of any side are resized to 299 px with aligned corners, as in the released code.
    """

    resizes_images = True

    def __init__(self, embedding_dim: int = 256):
        from torchvision.models import inception_v3

        super().__init__(768, 2048, embedding_dim)
        inception = inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
        self._blocks = [name for name, _ in inception.named_children() if name not in ("avgpool", "dropout", "fc")]
        for name in self._blocks:
            block = getattr(inception, name)
            setattr(self, name, block.requires_grad_(False))

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = F.interpolate(images, size=(_INCEPTION_SIZE, _INCEPTION_SIZE), mode="bilinear", align_corners=True)
        for name in self._blocks:
            x = getattr(self, name)(x)
            if name == "Mixed_6e":
                feature_map = x
        return feature_map, x.mean(dim=(2, 3))


class EfficientNetLite0ImageEncoder(ImageEncoder):
    """EfficientNet-lite0 encoder for photographs: regions from its last map, embedding from that map's average.

    Images of any side are resized to `trunk_size`; the map of 224 px is 7x7. The trunk is frozen and stays in
    evaluation mode, so that its statistics are ImageNet's; only the heads are trained.
    """

    resizes_images = True

    def __init__(self, embedding_dim: int = 256, trunk_size: int = SIDE):
        super().__init__(CHANNELS, CHANNELS, embedding_dim)
        self.features = EfficientNetLite0(trunk_size).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "EfficientNetLite0ImageEncoder":
        super().train(mode)
        self.features.eval()
        return self

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        feature_map = self.features(images)
        return feature_map, pooled(feature_map)

    def of_maps(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Return regions (B, E, h, w) and embedding (B, E) of the trunk's feature maps (B, C, h, w)."""
        return self.emb_features(feature_map), self.emb_cnn_code(pooled(feature_map))


class SmallImageEncoder(ImageEncoder):
    """Small encoder for demo sizes; the regions of a 64 px image are a 4x4 map.

    The embedding reads the whole map, not its mean, so that it depends on the positions of colours.
    """

    def __init__(self, embedding_dim: int = 256, width: int = 32):
        super().__init__(6 * width, 6 * width * _PLACES * _PLACES, embedding_dim)
        self.layers = nn.Sequential(
            *_small_block(3, width),
            *_small_block(width, 2 * width),
            *_small_block(2 * width, 4 * width),
            *_small_block(4 * width, 6 * width),
        )

    def trunk(self, images: Tensor) -> tuple[Tensor, Tensor]:
        feature_map = self.layers(images)
        side = feature_map.shape[-1]
        if feature_map.is_cuda and (side % _PLACES == 0 or _PLACES % side == 0):
            return feature_map, place_means(feature_map, _PLACES).flatten(1)
        return feature_map, F.adaptive_avg_pool2d(feature_map, _PLACES).flatten(1)


def place_means(x: Tensor, places: int) -> Tensor:
    """Pool x (B, C, s, s) to (B, C, places, places) by averages; `places` must divide s, or s divide `places`.

    Equal to adaptive average pooling up to rounding, but the gradient is bit-exact on a GPU.
    """
    side = x.shape[-1]
    return F.avg_pool2d(x, side // places) if side >= places else F.interpolate(x, size=(places, places))


def _small_block(inputs: int, outputs: int) -> list[nn.Module]:
    """Return the layers of a block that halves the side."""
    conv = nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2, inplace=True)]


def build_image_encoder(kind: str, embedding_dim: int, width: int, trunk_size: int = SIDE) -> ImageEncoder:
    """Return a new image encoder: "inception", "efficientnet-lite0" of the trunk size, or "small" of the given width.

    The trunks of the first two have random weights until they are loaded.
    """
    if kind == "small":
        return SmallImageEncoder(embedding_dim, width)
    if kind == "efficientnet-lite0":
        return EfficientNetLite0ImageEncoder(embedding_dim, trunk_size)
    return {"inception": InceptionImageEncoder}[kind](embedding_dim)


def padding_mask(lengths: Tensor) -> Tensor:
    """Return a mask (B, T) that is true at padding; T is the largest of `lengths` (B,)."""
    return torch.arange(int(lengths.max()))[None, :] >= lengths[:, None]
