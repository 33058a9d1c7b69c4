"""Encoders of images and captions: the held-out DAMSM, and CLIP against open_clip's own transform."""

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from dmgan.errors import UserError
from dmgan.evaluation.networks.clip import ClipEncoder
from dmgan.evaluation.networks.damsm import read_damsm_encoders
from dmgan.text.damsm import Damsm
from tests.conftest import CPU


def test_a_held_out_damsm_must_be_another(dataset, damsm_folder):
    with pytest.raises(UserError, match="a held-out DAMSM must be of another seed"):
        read_damsm_encoders(Damsm.read(damsm_folder), damsm_folder, damsm_folder, dataset, CPU)


def test_clip_sees_what_its_own_transform_gives(clip_files, dataset):
    encoder = ClipEncoder(*clip_files, CPU)
    model = encoder._model
    image = dataset.image(3)[:36, :36]
    transform = open_clip.image_transform(32, is_train=False, mean=model.visual.image_mean, std=model.visual.image_std)
    own = encoder.extractor.forward(torch.tensor(encoder.extractor.prepare(image))[None])["embeddings"]
    assert torch.allclose(own, model.encode_image(transform(Image.fromarray(image))[None]), atol=1e-5)
    text = [dataset.caption(3, 0), dataset.caption(4, 1)]
    assert np.allclose(encoder.encode(text), model.encode_text(open_clip.tokenize(text)).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("tiny-clip", "nowhere.pt", "nowhere.pt: does not exist; give --clip-weights .*its hash is written into"),
        ("no-such-clip", "weights.pt", "--clip no-such-clip: is not known to open_clip"),
        ("tiny-clip", "other.pt", "does not hold the weights of a CLIP"),
    ],
)
def test_clip_that_cannot_be_read_is_one_line(clip_files, model, weights, message):
    folder = clip_files[1].parent
    torch.save({"logit_scale": torch.zeros(())}, folder / "other.pt")
    with pytest.raises(UserError, match=message) as caught:
        ClipEncoder(model, folder / weights, CPU)
    assert "\n" not in str(caught.value)
