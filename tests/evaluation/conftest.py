"""Networks that metrics read, and one image set measured by all of them; made once for all tests of the evaluation."""

import json
from pathlib import Path

import open_clip
import pytest
import torch

from dmgan.evaluation.evaluate import evaluate
from dmgan.evaluation.networks.loaded import NetworkFiles
from dmgan.evaluation.statistics import uncertainty
from dmgan.options import DamsmSettings, EvaluationOptions
from dmgan.sampling.sample import SampleRequest, sample_test_captions
from dmgan.training.pretrain_damsm import pretrain
from tests.conftest import CPU, DAMSM

CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="session")
def held_out_folder(data, tmp_path_factory) -> Path:
    """Encoders of another seed."""
    folder = tmp_path_factory.mktemp("held-out")
    pretrain(data, folder, DamsmSettings(DAMSM), 1, CPU)
    return folder


@pytest.fixture(scope="session")
def clip_files(tmp_path_factory) -> tuple[str, Path]:
    """Configuration and weights of a CLIP with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-clip.json").write_text(json.dumps(CLIP))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "weights.pt")
    return str(folder / "tiny-clip.json"), folder / "weights.pt"


@pytest.fixture(scope="session")
def network_files(
    classifier_folder, damsm_folder, held_out_folder, attributes_folder, clip_files, tmp_path_factory
) -> NetworkFiles:
    """Files of every network that tests can make."""
    return NetworkFiles(
        ("species",), classifier_folder, tmp_path_factory.mktemp("weights"), damsm_folder, held_out_folder, clip_files,
        attributes_folder,
    )  # fmt: skip


@pytest.fixture(scope="session")
def images_folder(run_folder, data, tmp_path_factory) -> Path:
    """40 images of a trained model."""
    folder = tmp_path_factory.mktemp("sampled") / "images"
    sample_test_captions(run_folder, data, folder, SampleRequest(40), CPU)
    return folder


@pytest.fixture(scope="session")
def evaluated_folder(images_folder, data, network_files, tmp_path_factory) -> Path:
    """metrics.json and per_image.npz of those images, by every network."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uncertainty, "RESAMPLES", 100)
        evaluate(
            images=images_folder, data=data, network_files=network_files, reference=None, out=folder / "metrics.json",
            options=EvaluationOptions(neighbours=2), device=CPU,
        )  # fmt: skip
    return folder
