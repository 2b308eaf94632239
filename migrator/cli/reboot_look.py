"""A file of reboot groups looked at as a whole: migrator plan show and migrator check, given one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from migrator.cli.output import fail, print_json
from migrator.cli.what_if import facts_asked


def show_reboot(path: Path, svg: Path | None, as_json: bool) -> int:
    """Prints a line for each group, or its totals; the exit code."""
    from migrator.cli.plan_reboot import print_groups, summary
    from migrator.errors import BadInput
    from migrator.inventory import reboot_file

    if svg is not None:
        raise BadInput(f"--svg: {path} holds many plans; take one out with: migrator plan group {path} 1 -o PLAN")
    loaded = reboot_file.load(path)
    if as_json:
        pairs = zip(loaded.groups, loaded.returns, strict=True)
        print_json({"reboot": str(path), "groups": [reboot_file.group_totals(*pair) for pair in pairs]})
    else:
        print_groups(loaded)
        click.echo(summary(loaded, proved=False))
    return 0


def check_reboot_file(ctx: click.Context, path: Path, as_json: bool, asked: dict[str, Any]) -> int:
    """Replays every group and its return, each from where the one before it ends; the exit code."""
    from migrator.checker.reboot import check_reboot
    from migrator.cli.plan_reboot import summary
    from migrator.cli.plan_text import findings_json, print_findings, waived_json
    from migrator.inventory import reboot_file

    loaded = reboot_file.load(path)
    found = check_reboot(facts_asked(ctx, **asked)[0], loaded)
    document = {"plan": str(path), "findings": findings_json(found), "notes": [], "waived": waived_json(loaded.policy)}
    if found:
        if not as_json:
            print_findings(found)
        more = f"; and {len(found) - 1} more of it, and nothing is known of what comes after" if len(found) > 1 else ""
        return fail(f"{path}: {loaded.intent}: {found[0].text}{more}", 3, as_json, document)
    if as_json:
        print_json(document)
    else:
        click.echo(f"{path}: holds: {summary(loaded)}")
    return 0
