"""Every number on the command line has bounds, and a wrong number is refused before anything is computed."""

import argparse
import dataclasses
import math

import pytest

from dmgan import options
from dmgan.__main__ import SUBCOMMANDS, build_parser, main
from dmgan.data.sources.table import check_flags, every_source
from dmgan.errors import UserError
from tests.commands.test_command_line import error_line


def numeric_flags() -> list[tuple[str, argparse._ArgumentGroup, argparse.Action]]:
    """Return subcommand, group and flag of all flags of numbers."""
    found = []
    for name in SUBCOMMANDS:
        parser = build_parser(name)._subparsers._group_actions[0].choices[name]
        for group in parser._action_groups:
            for action in group._group_actions:
                if action.type in (int, float) or getattr(action.type, "__name__", "") == "int":
                    found.append((name, group, action))
    return found


def refusal(group: argparse._ArgumentGroup, action: argparse.Action, text: str) -> str | None:
    """Return why a flag refuses a text; None if it accepts the text."""
    try:
        value = action.type(text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        return str(error)
    kind = getattr(options, group.title or "", None)
    try:
        if dataclasses.is_dataclass(kind):
            values = {each.name: each.default for each in dataclasses.fields(kind)}
            kind(**(values | {action.dest: value}))
        for source in every_source():
            if action.dest in source.flags and action.type is source.flags[action.dest].type:
                required = {name: "folder" for name, flag in source.flags.items() if flag.required}
                check_flags(source, required | {action.dest: value})
    except UserError as error:
        return str(error)
    return None


FLAGS = numeric_flags()


@pytest.mark.parametrize(("name", "group", "action"), FLAGS, ids=[f"{n} {a.option_strings[0]}" for n, _, a in FLAGS])
def test_no_number_is_accepted_that_cannot_be_computed_with(name, group, action):
    assert len(FLAGS) > 100
    for text in ("nan", "inf", "-inf", "1e999", "1" + 38 * "0", "-1" + 38 * "0"):
        assert refusal(group, action, text), text
    if action.type is not float:
        assert refusal(group, action, "0.5")
    accepted = [text for text in ("-1", "0") if not refusal(group, action, text)]
    assert "-1" not in accepted or action.dest in ("workers", "validation_images"), accepted  # chosen automatically


@pytest.mark.parametrize("kind", [each for each in vars(options).values() if dataclasses.is_dataclass(each)])
def test_every_number_of_the_options_has_both_bounds(kind):
    for field in dataclasses.fields(kind):
        if field.type in (int, float) and kind is not options.LossOptions:
            bounds = field.metadata["bounds"]
            assert {"minimum", "exclusiveMinimum", "enum"} & bounds.keys(), field.name
            assert {"maximum", "exclusiveMaximum", "enum"} & bounds.keys(), field.name


@pytest.mark.parametrize(("flag", "text", "reason"), [
    ("--lr", "nan", "lr nan: must be a finite number"), ("--lr", "inf", "lr inf: must be a finite number"),
    ("--epochs", "-3", "epochs -3: must be 1 or more"), ("--epochs", "0", "epochs 0: must be 1 or more"),
    ("--epochs", "9999999999", "epochs 9999999999: must be at most 2,147,483,647"),
    ("--max-words", "0", "max_words 0: must be in [1, 10000]"), ("--width", "0", "width 0: must be in [1, 16384]"),
    ("--image-size", "7", "image_size 7: must be in [8, 4096]"), ("--gamma1", "nan", "gamma1 nan: must be a finite"),
])  # fmt: skip
def test_a_wrong_number_of_pretraining_is_one_line_in_the_users_own_number(flag, text, reason, tmp_path, capsys):
    line = error_line(capsys, "pretrain", "--data", tmp_path, "--out", tmp_path / "out", f"{flag}={text}")
    assert line.startswith(f"dmgan pretrain: {reason}"), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("value", "kind", "right"), [
    (3, int, True), (3.0, int, False), (True, int, False), ("3", int, False), (3, float, True),
    (math.nan, float, False),
])  # fmt: skip
def test_a_value_of_another_type_is_refused(value, kind, right):
    name = "epochs" if kind is int else "lr"
    values = {each.name: each.default for each in dataclasses.fields(options.DamsmOptions)} | {name: value}
    if right:
        assert options.from_dict(options.DamsmOptions, values, "options.json")
    else:
        with pytest.raises(UserError, match=f"options.json: {name} .*: must be a (whole|finite) number"):
            options.from_dict(options.DamsmOptions, values, "options.json")


def test_a_wrong_seed_or_number_of_processes_is_an_error_of_usage(capsys):
    for arguments in (["--seed", "-1"], ["--seed", "0.5"], ["--threads", "0"], ["--threads", "100000"]):
        with pytest.raises(SystemExit):
            main(["pretrain", "--data", "x", "--out", "y", *arguments])
        assert f"argument {arguments[0]}" in capsys.readouterr().err
