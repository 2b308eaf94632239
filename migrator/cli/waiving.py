"""--waive: rules of a plan by number or label, and checks of machines by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from migrator.errors import BadInput, quoted

if TYPE_CHECKING:
    from migrator.model.plan_policy import PlanPolicy

F = TypeVar("F", bound=Callable[..., Any])


def waive_option(command: F) -> F:
    """Adds --waive to a command that makes a plan by rules."""
    return click.option(
        "--waive",
        multiple=True,
        metavar="NUMBER|KEY|CHECK",
        help="Without this rule, by the number that a refusal or a note tells, without keeping apart by this label, or "
        "without this check of nodes (see: migrator compat); may be repeated.",
    )(command)


def waive_check_option(command: F) -> F:
    """Adds --waive to a command that moves what was planned or named."""
    return click.option(
        "--waive",
        multiple=True,
        metavar="CHECK",
        help="Without this check of nodes, by its name (see: migrator compat); may be repeated.",
    )(command)


def waived_checks(words: tuple[str, ...]) -> tuple[str, ...]:
    """Names of checks, each once; BadInput for one that is none or that nothing waives."""
    return tuple(dict.fromkeys(word for word in words if _is_check(word, "")))


def waived(policy: PlanPolicy, words: tuple[str, ...]) -> PlanPolicy:
    """Without the rules of these numbers, counted from 1 as in the files, without these labels of anti-affinity, and
    without these checks. A label that is named as a check is goes before it.
    """
    from dataclasses import replace

    count, numbers, checks = len(policy.rules), set(), []
    for word in words:
        if word in policy.anti_affinity:
            continue
        if not (word.isascii() and word.isdigit()):
            keys = ", ".join(policy.anti_affinity) or "none"
            if _is_check(word, f"no number of a rule, no label that keeps containers apart ({keys}), and "):
                checks.append(word)
            continue
        if len(word) > 9 or not 1 <= int(word) <= count:
            there = f"there are {count} rules" if count > 1 else f"there is {count or 'no'} rule"
            raise BadInput(f"--waive: there is no rule {word[:9]}; {there}")
        numbers.add(int(word))
    without = policy.without(numbers, words)
    return replace(without, checks_waived=tuple(dict.fromkeys((*without.checks_waived, *checks))))


def _is_check(word: str, nor: str) -> bool:
    """True for a check that can be waived; BadInput says what else the word is not."""
    from migrator.model.sameness import FIRM, WAIVABLE

    if word in WAIVABLE:
        return True
    if word in FIRM:
        raise BadInput(f"--waive: {word} cannot be waived: {FIRM[word]}")
    if word == "kernel":
        raise BadInput("--waive: kernel keeps no container from a node; what it lacks is kernel-features")
    raise BadInput(f"--waive: {quoted(word)} is {nor}no check of nodes ({', '.join(WAIVABLE)})")
