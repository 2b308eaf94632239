"""Commands that are named in what is printed, made such that they work when they are pasted.

A text of the planner or of the executor names a command by its words alone: `migrator plan drain n1`. It knows nothing
of the files and options that this command was given and that the named one needs again. They are put in here, at the
edge; what is written into plans and documents stays as it is, the same from wherever it was asked.
"""

from __future__ import annotations

import re
import shlex

import click
from click.core import ParameterSource

_COMMAND = re.compile(r"\bmigrator ((?:plan )?[a-z]+)\b")
_OF_PLANS = frozenset({"plan drain", "plan evacuate", "plan rebalance", "plan consolidate", "plan move", "plan return"})
_AGAIN = frozenset(  # which facts, under which rules: options that every intent has
    {"snapshot", "gone", "more", "freed", "policy_path", "learn_from", "headroom_percent", "blackout_s_max", "waive"}
    | {"moves_per_node_max", "overlapping_pauses", "start", "leave_stopped", "anti_affinity"}
    | {"mode", "target_blackout_s", "not_convergent", "stop_timeout_s", "cluster", "journal"}
)
_ALONE = frozenset({"plan", "lab"})  # the first names no command that does something, the other needs no cluster


def pasteable(text: str) -> str:
    """The text with the options of the command that runs now in each command that it names."""
    ctx = click.get_current_context(silent=True)
    if ctx is None or "migrator " not in text:
        return text
    from migrator.cli.main import COMMANDS

    root, chosen = _given(ctx.find_root()), _given(ctx)

    def whole(match: re.Match[str]) -> str:
        words = match[1]
        if words.split(" ")[0] not in COMMANDS or words in _ALONE:
            return match[0]
        return " ".join(["migrator", *root, words, *(chosen if words in _OF_PLANS else ())])

    return _COMMAND.sub(whole, text)


def _given(ctx: click.Context) -> list[str]:
    """The options that somebody gave on the command line, as words of a shell."""
    words: list[str] = []
    for param in ctx.command.params:
        name = param.name or ""
        asked = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not isinstance(param, click.Option) or not asked or name not in _AGAIN:
            continue
        value = ctx.params[name]
        option = max(param.opts, key=len)
        if param.is_flag:
            words.append(option)
            continue
        for one in value if param.multiple else (value,):
            words += [option, shlex.quote(str(one))]
    return words
