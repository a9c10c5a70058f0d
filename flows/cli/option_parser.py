"""The parser of the command lines: short help, tolerant spelling of options, and suggestions for unknown ones."""

import inspect
import re
from argparse import SUPPRESS, Action, ArgumentParser, HelpFormatter, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, NoReturn

from pydantic_settings import SettingsError

METAVARS = {"str": "TEXT", "int": "NUMBER", "float": "NUMBER", "bool": "true|false", "Path": "FILE"}
"""What the help shows for the values of a type; for lists, see `add_option`."""
MAX_METAVAR = 80
"""Characters; longer lists of values are only in the complete help."""
WIDTH = 100
NUMBER = re.compile(r"-\d*\.?\d+$")

Sections = Mapping[str, Sequence[str]]
"""Titles of sections of the help, with the names of their options."""


class OptionParser(ArgumentParser):
    """A parser of which --help shows the options in `common`, or all if it is empty, and --help-all shows all."""

    def __init__(self, prog: str, description: str, common: Sections, examples: str) -> None:
        super().__init__(
            prog,
            description=inspect.cleandoc(description),
            epilog=examples,
            allow_abbrev=False,
            add_help=False,
            formatter_class=partial(_Formatter, max_help_position=30, width=WIDTH),
        )
        self.common = common
        self.add_argument("-h", "--help", action="help", default=SUPPRESS, help="Show this help and exit.")
        if common:
            self.add_argument("--help-all", action=_HelpAll, help="Show all options with their full descriptions.")

    def format_help(self) -> str:
        positional = (str(action.metavar) for action in self._actions if not action.option_strings)
        self.usage = " ".join([self.prog, *positional, "[OPTION VALUE]..."])
        if not self.common:
            return super().format_help()
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, (), ())
        formatter.add_text(self.description)
        by_name = {action.dest: action for action in self._actions}
        for title, names in self.common.items():
            formatter.start_section(title)
            formatter.add_arguments([_shorten(by_name[name]) for name in names])
            formatter.end_section()
        formatter.start_section("help")
        formatter.add_arguments([action for action in self._actions if action.dest.startswith("help")])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def parse_known_args(  # type: ignore[override] # called by parse_args with lists only
        self, args: Sequence[str], namespace: Namespace | None = None
    ) -> tuple[Namespace, list[str]]:
        parsed, unknown = super().parse_known_args(list(self._respell(args)), namespace)
        if options := [word.partition("=")[0] for word in unknown if _is_option(word)]:
            raise SettingsError("\n".join(map(self._explain, options)))  # without values, which may be secret
        if unknown:
            raise SettingsError(
                f"{unknown[0]!r} does not belong to an option: give one value per option, in quotes if it has spaces"
            )
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        raise SettingsError(message)

    def _respell(self, words: Iterable[str]) -> Iterator[str]:
        """Yield the words with - and _ as in the options' names, and the option before each value of a list."""
        spellings = {_plain(name): name for name in self._option_string_actions}
        option, values = "", 0
        for word in words:
            if _is_option(word):
                name, equals, value = word.partition("=")
                option, values = spellings.get(_plain(name), name), len(equals)
                yield option + equals + value
                continue
            action = self._option_string_actions.get(option)
            if values and getattr(action, "is_list", False):
                yield option
            values += 1
            yield word

    def _explain(self, unknown: str) -> str:
        """Say that there is no such option, and which ones have a similar name."""
        names: dict[str, list[str]] = {}
        for action in self._actions:
            for name in action.option_strings[:1]:
                for known in {_plain(name), _plain(name).rpartition(".")[2]}:
                    names.setdefault(known, []).append(name)
        wanted = _plain(unknown)
        close = [wanted] if wanted in names else get_close_matches(wanted, names, cutoff=0.7)
        found = list(dict.fromkeys(name for match in close for name in names[match]))[:3]
        remedy = f"Did you mean {' or '.join(found)}?" if found else f"{self.prog} --help shows the options."
        return f"There is no option {unknown}. {remedy}"


class _Formatter(HelpFormatter):
    """Keeps the line breaks of descriptions and examples, and shows the values of an option once."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)

    def _format_action_invocation(self, action: Action) -> str:
        names = [name for name in action.option_strings if name not in getattr(action, "other_spellings", ())]
        if not names or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(names)} {self._format_args(action, str(action.metavar))}"


class _HelpAll(Action):
    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse's name
        super().__init__(option_strings, dest, nargs=0, default=SUPPRESS, help=help)

    def __call__(self, parser: ArgumentParser, *_: Any) -> None:
        parser.common = {}  # type: ignore[attr-defined] # of OptionParser
        parser.print_help()
        parser.exit()


def add_option(container: Any, *names: str, **settings: Any) -> Action:
    """Add an option as pydantic-settings describes it, with words for its Python type and without a needless default.

    The parameter `add_argument_method` of CliSettingsSource.
    """
    text, default = _split_default(settings.get("help", ""))
    kind = str(settings.get("metavar", ""))
    is_list = kind.startswith(("tuple[", "list["))
    text = re.sub(r"\bNone:", "Not given:", text)  # the form shows `None` for an empty field
    settings["help"] = text + (f" Default {default}." if default and "default" not in text.lower() else "")
    if is_list or kind.startswith("dict["):
        settings["metavar"] = "A,B,..." if is_list else "KEY=VALUE,..."
    elif "metavar" in settings:
        settings["metavar"] = METAVARS.get(kind, kind.strip("{}").replace(",", "|"))
    action: Action = container.add_argument(*names, **settings)
    action.is_list, action.text, action.default_text = is_list, text, default  # type: ignore[attr-defined]
    plain = [_plain(name) for name in names]
    action.other_spellings = [  # type: ignore[attr-defined]
        name for number, name in enumerate(names) if plain[number] in plain[number + 1 :]
    ]
    return action


def _split_default(text: str) -> tuple[str, str]:
    """Return a description without the default that pydantic-settings appends, and the default; empty for none."""
    found = re.search(r" ?\(default: (.*)\)$", text)
    if not found:
        return text, ""
    default = {"True": "true", "False": "false"}.get(found[1], found[1])
    return text[: found.start()], "" if default in {"None", "()", "as it is"} else default


def _shorten(action: Action) -> Action:
    """Return a copy with the first sentence of the description, and the default."""
    short = Action(action.option_strings, action.dest, action.nargs, metavar=action.metavar)
    text, default = getattr(action, "text", ""), getattr(action, "default_text", "")
    sentence = re.split(r"(?<=\w[.;])\s(?=[A-Z]|default)", text, maxsplit=1)[0].rstrip(";.")
    short.help = sentence + (f"; default {default}." if default and "default" not in sentence.lower() else ".")
    short.other_spellings = getattr(action, "other_spellings", ())  # type: ignore[attr-defined]
    if len(str(short.metavar)) > MAX_METAVAR:
        short.metavar = "NAME"
    return short


def _is_option(word: str) -> bool:
    return len(word) > 1 and word.startswith("-") and not NUMBER.match(word)


def _plain(name: str) -> str:
    """An option's name without leading hyphens, in the spelling that is compared."""
    return name.lstrip("-").replace("-", "_").lower()
