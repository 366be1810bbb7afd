"""Commands whose true-or-false options work as `--x`, `--x=false` and `--x false` alike.

Click knows either flags or options with a value; people of this field write all three.
"""

import click

_WORDS = frozenset({"true", "false", "1", "0", "yes", "no", "on", "off", "t", "f", "y", "n"})


class SwitchCommand(click.Command):
    """A command that takes a switch without a value as true."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As Click does, with the values filled in."""
        names = {
            name
            for parameter in self.params
            if isinstance(parameter, click.Option) and parameter.type is click.BOOL and not parameter.is_flag
            for name in parameter.opts
        }
        return super().parse_args(ctx, fill_switches(args, names))


def fill_switches(args: list[str], names: set[str]) -> list[str]:
    """The words with `=true` after each bare switch; what follows `--` is left alone."""
    filled: list[str] = []
    for position, word in enumerate(args):
        if word == "--":
            return filled + args[position:]
        following = args[position + 1] if position + 1 < len(args) else ""
        filled.append(f"{word}=true" if word in names and following.lower() not in _WORDS else word)
    return filled
