"""`graphcap completion`: print a completion script for bash, zsh or fish."""

import argparse
import shlex
from collections.abc import Iterator

from bridge.cli import COMMANDS, Parser, build

_BASH = """\
_graphcap() {{
    local words current="${{COMP_WORDS[COMP_CWORD]}}"
    case "${{COMP_WORDS[*]:1:COMP_CWORD-1}} " in
{cases}
    esac
    case "${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _graphcap graphcap
"""
_ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"
_START = {
    "bash": "source <(graphcap completion bash)       # in ~/.bashrc",
    "zsh": "source <(graphcap completion zsh)        # in ~/.zshrc",
    "fish": "graphcap completion fish | source        # in ~/.config/fish/config.fish",
}


def add_options(parser: Parser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(("use:", *(f"  {line}" for line in _START.values())))
    parser.add_argument("shell", choices=[*_START], help="the shell that reads the script")


def run(options: argparse.Namespace) -> int:
    leaves = [("", build(None)), *(leaf for name in COMMANDS for leaf in _leaves(name, build(name).commands[name]))]
    print("\n".join(_fish(leaves)) if options.shell == "fish" else _bash(leaves, options.shell))
    return 0


def _leaves(words: str, parser: Parser) -> Iterator[tuple[str, Parser]]:
    """Yield the words and the parser of a command and of its verbs."""
    yield words, parser
    for name, verb in parser.commands.items():
        yield from _leaves(f"{words} {name}", verb)


def _values(action: argparse.Action) -> str:
    """Return the choices of an argument, "" if it has none."""
    metavar = str(action.metavar or "")
    return " ".join(map(str, action.choices or (metavar.split("|") if "|" in metavar else ())))


def _bash(leaves: list[tuple[str, Parser]], shell: str) -> str:
    """Return the script for bash, which zsh can run too. Longer commands come first, so that they match first."""
    cases, values = [], {}
    for words, parser in reversed(leaves):
        named = [name for action in parser.arguments for name in action.option_strings]
        places = [choice for action in parser.arguments if not action.option_strings for choice in action.choices or ()]
        cases.append(f'        "{words} "*) words="{" ".join([*parser.commands, *places, *named])}" ;;')
        for action in parser.arguments:
            if action.option_strings and (words_of_value := _values(action)):
                values["|".join(action.option_strings)] = words_of_value
    cases[-1] = cases[-1].replace('" "*)', "*)")
    choices = [f'        {names}) words="{choices}" ;;' for names, choices in values.items()]
    return (_ZSH if shell == "zsh" else "") + _BASH.format(cases="\n".join(cases), values="\n".join(choices)).rstrip()


def _fish(leaves: list[tuple[str, Parser]]) -> Iterator[str]:
    for words, parser in leaves:
        seen = " ".join(f"; and __fish_seen_subcommand_from {word}" for word in words.split()).removeprefix("; and ")
        verbs = f"; and not __fish_seen_subcommand_from {' '.join(parser.commands)}" if parser.commands else ""
        start = f"complete -c graphcap -n {shlex.quote(seen + verbs if words else '__fish_use_subcommand')}"
        for name, command in parser.commands.items():
            yield f"{start} -f -a {name} -d {shlex.quote(command.description or '')}"
        for action in parser.arguments:
            choices = f" -x -a {shlex.quote(_values(action))}" if _values(action) else ""
            names = "".join(
                f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in action.option_strings
            )
            value = "" if action.nargs == 0 or choices else " -r"
            summary = str(action.help or "").partition(";")[0].replace("%(choices)s", "").replace("%%", "%")
            if names or choices:
                yield f"{start}{names}{choices}{value} -d {shlex.quote(summary)}"
