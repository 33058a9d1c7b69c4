"""Train a model."""

import argparse
from dataclasses import replace
from pathlib import Path

from dmgan.commands import flags
from dmgan.errors import UserError
from dmgan.options import ArchitectureOptions, EngineOptions, MatchingOptions, TrainingOptions, TrainingSettings


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, help="name in the registry, such as dmgan or attngan")
    parser.add_argument("--data", type=Path, required=True, help="prepared data set")
    parser.add_argument("--damsm", type=Path, required=True, help="folder of the pretrained encoders")
    parser.add_argument("--out", type=Path, required=True, help="run folder; an interrupted run in it is resumed")
    parser.add_argument(
        "--seed", type=flags.SEED, default=0, help="seed of weights, order, augmentation and noise (default 0)"
    )
    parser.add_argument(
        "--vgg16-weights", type=Path,
        help="torchvision's vgg16 state dict (for --perceptual vgg16, and for --feature-network vgg16)",
    )  # fmt: skip
    parser.add_argument("--captioner", type=Path, help="folder of the pretrained captioner (for MirrorGAN)")
    validation = parser.add_argument_group("networks of --evaluate-every")
    flags.add_extractors(validation)
    validation.add_argument("--held-out-damsm", type=Path, help="encoders of another seed, for a further R-precision")
    validation.add_argument("--attributes", type=Path, help="attribute classifier (only for synthbirds)")
    flags.add_run_flags(parser)
    for kind in (ArchitectureOptions, TrainingOptions):
        flags.add_options(parser, kind, note="The registry entry of a model may have other defaults.")
    flags.add_options(parser, EngineOptions)
    flags.add_options(parser, MatchingOptions)


def run(arguments: argparse.Namespace) -> None:
    from dmgan.models.registry import options_of

    settings = TrainingSettings(
        options_of(ArchitectureOptions, arguments.model, vars(arguments)),
        options_of(TrainingOptions, arguments.model, vars(arguments)),
        flags.options_from(arguments, MatchingOptions),
        flags.options_from(arguments, EngineOptions),
    )
    _refuse_unread(arguments, settings.training)
    device = flags.set_up_device(arguments)
    from dmgan.runtime.distributed import process_group
    from dmgan.training.train import TrainingInputs, train

    inputs = TrainingInputs(arguments.data, arguments.damsm, arguments.vgg16_weights, arguments.captioner)
    with process_group(device) as distributed:
        if settings.training.evaluate_every and distributed.is_main:
            from dmgan.evaluation.networks.loaded import NetworkFiles
            from dmgan.evaluation.validation import Validator

            network_files = NetworkFiles(
                flags.extractors_from(arguments), arguments.classifier, arguments.weights, arguments.damsm,
                arguments.held_out_damsm, attributes=arguments.attributes,
            )  # fmt: skip
            validator = Validator.read(arguments.model, settings, inputs, network_files, arguments.out, device)
            inputs = replace(inputs, validator=validator)
        train(arguments.model, inputs, arguments.out, settings, arguments.seed, device, arguments.mlflow, distributed)


def _refuse_unread(arguments: argparse.Namespace, options: TrainingOptions) -> None:
    """Raise UserError if a network of the validation is given, but no weights are measured during training."""
    for name in ("classifier", "held_out_damsm", "attributes"):
        if getattr(arguments, name) is not None and not options.evaluate_every:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} {getattr(arguments, name)}: is only read with --evaluate-every; leave it out")
