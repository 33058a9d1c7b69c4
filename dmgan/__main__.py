"""Command line: the table of subcommands.

A module is imported only when its subcommand is chosen; the summaries are in the table, so that `--help` is fast.
"""

import argparse
import errno
import importlib
import os
import sys
import tempfile
import time
import traceback

from dmgan import __version__
from dmgan.errors import UserError, one_line
from dmgan.runtime.output import exit_at_closed_pipe
from dmgan.runtime.telemetry import disable_telemetry
from dmgan.runtime.threads import wait_without_spinning

_FAULT = 70  # EX_SOFTWARE of sysexits.h
_OF_THE_DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.ESTALE
)  # fmt: skip

SUBCOMMANDS = {  # name: (module of dmgan/commands with add_flags(parser) and run(arguments), one-line summary)
    "prepare":         ("prepare",         "make a prepared data set"),
    "pretrain":        ("pretrain",        "pretrain the DAMSM's text and image encoder"),
    "classifier":      ("classifier",      "train the species classifier for IS and FID"),
    "probe":           ("probe",           "fit the linear probe of efficientnet-lite0 for IS"),
    "attributes":      ("attributes",      "train the attribute classifier (synthbirds)"),
    "captioner":       ("captioner",       "pretrain the captioner for MirrorGAN's loss"),
    "train":           ("train",           "train a model"),
    "import":          ("import_released", "make a run folder from released weights"),
    "sample":          ("sample",          "generate images from test captions"),
    "reference":       ("reference",       "compute features of the real test images, for evaluate"),
    "evaluate":        ("evaluate",        "compute IS, FID, KID, PRDC and R-precision of a set of images"),
    "controls":        ("controls",        "evaluate control rows, image sets whose rank is known beforehand"),
    "memorisation":    ("memorisation",    "measure whether a model that retrieves copies training images"),
    "retrieval-table": ("retrieval_table", "render the table of a model that retrieves under each retrieval method"),
    "tables":          ("tables",          "render the papers' tables from metrics.json files"),
    "parameters":      ("parameters",      "list DM-GAN's parameters as in the student reproduction's Figures 2 and 3"),
    "compare":         ("compare",         "compare models in pairs, image by image, with significance tests"),
    "claims":          ("claims",          "check the papers' claims by their numbers and on your runs"),
    "figures":         ("figures",         "render the papers' figures and further figures from trained runs"),
    "curves":          ("curves",          "render charts of trainings: losses, validation metrics, FID against cost"),
    "failures":        ("failures",        "render a gallery of failures: captions not found, copies, images alike"),
    "checklist":       ("checklist",       "write the reproducibility checklist and the citation of what was run"),
    "report":          ("report",          "write a data set's report page, as HTML and as PDF"),
    "generate":        ("generate",        "generate images of every stage from your own captions"),
    "serve":           ("serve",           "serve a page that generates images from captions, on this machine only"),
    "fetch":           ("fetch",           "download files for CUB, COCO and released models"),
    "verify":          ("verify",          "check every file of a results folder against its hashes and inputs"),
    "mlflow-db":       ("mlflow_db",       "create the MLflow database that runs are mirrored to"),
    "mlflow-ui":       ("mlflow_ui",       "show the MLflow database in a browser, on this machine only"),
    "hub-push":        ("hub_push",        "publish a trained model on a model hub"),
    "bird-inception":  ("bird_inception",  "convert the released Inception for birds from its TensorFlow checkpoint"),
    "new-model":       ("new_model",       "create a new model: a small working file and its registry entry"),
}  # fmt: skip


class _PrintCompletion(argparse.Action):
    """Print the completion script of a shell, for the console script `dmgan`, and exit."""

    def __call__(self, parser, namespace, shell, option_string=None) -> None:
        import shtab

        print(shtab.complete(build_parser(*SUBCOMMANDS, program="dmgan"), shell))
        parser.exit()


def build_parser(*chosen: str, program: str | None = None) -> argparse.ArgumentParser:
    """Return the parser with the flags of the subcommands `chosen`; only their modules are imported."""
    if program is None:
        program = "dmgan" if os.path.basename(sys.argv[0]) == "dmgan" else "python -m dmgan"
    parser = argparse.ArgumentParser(prog=program, description="Text-to-image GANs: reproduce and benchmark.")
    parser.add_argument("--version", action="version", version=f"dmgan {__version__}")
    parser.add_argument(
        "--print-completion", action=_PrintCompletion, choices=["bash", "zsh", "tcsh"],
        help='print the completion of this shell: eval "$(dmgan --print-completion bash)"',
    )  # fmt: skip
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, (module_name, summary) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary)
        if name in chosen:
            module = importlib.import_module(f"dmgan.commands.{module_name}")
            module.add_flags(subparser)
            subparser.set_defaults(function=module.run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; return 0, 1 after a UserError, 130 after Ctrl-C, 70 after a fault; each is one line."""
    argv = sys.argv[1:] if argv is None else argv
    disable_telemetry()
    wait_without_spinning()
    with exit_at_closed_pipe():
        return _run(build_parser(*argv[:1]).parse_args(argv))


def _run(arguments: argparse.Namespace) -> int:
    """Run the subcommand that `arguments` name, and return the exit code."""
    # RANK as in dmgan.runtime.distributed, which imports torch and would slow down --help
    rank = 0
    try:
        rank, processes = _number_in_environment("RANK", 0), _number_in_environment("WORLD_SIZE", 1)
        if arguments.subcommand != "train" and processes > 1:
            raise UserError("only train runs in several processes; leave torchrun out")
        arguments.function(arguments)
    except UserError as error:
        if rank > 0:  # if rank 0 fails too, torchrun ends this process before it prints the same error
            time.sleep(1)
        print(f"dmgan {arguments.subcommand}: {f'rank {rank}: ' if rank else ''}{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        if rank == 0:
            where = "".join(f" {note};" for note in getattr(interrupt, "__notes__", []))
            print(f"dmgan {arguments.subcommand}: interrupted{where} run the same command to resume", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise  # see exit_at_closed_pipe
    except OSError as error:
        if error.errno not in _OF_THE_DISK:
            return _report_fault(arguments.subcommand, error)
        line = UserError(
            f"{error.filename or 'a file'}: could not be read or written ({error.strerror}); free space or fix the "
            "permissions, then run the same command again"
        )
        print(f"dmgan {arguments.subcommand}: {line}", file=sys.stderr)
        return 1
    except Exception as error:  # a fault of this program
        return _report_fault(arguments.subcommand, error)
    return 0


def _number_in_environment(name: str, default: int) -> int:
    """Return a number that torchrun sets."""
    text = os.environ.get(name, str(default))
    if not (text.isdecimal() and len(text) < 10):
        raise UserError(f"{name}={text}: is not a number, which torchrun sets; unset this environment variable")
    return int(text)


def _report_fault(subcommand: str, error: Exception) -> int:
    """Print one line that names a file with the traceback, and return the exit code."""
    try:
        handle, path = tempfile.mkstemp(prefix="dmgan-fault-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
        kept = f"the traceback, {path}"
    except OSError as full:
        kept = f"the command; its traceback could not be written ({full.strerror or full})"
    reason = one_line((str(error).strip() or "no message").splitlines()[0])
    print(
        f"dmgan {subcommand}: {type(error).__name__}: {reason}; this is a fault of the program: please report it with "
        f"{kept}",
        file=sys.stderr,
    )
    return _FAULT


if __name__ == "__main__":
    sys.exit(main())
