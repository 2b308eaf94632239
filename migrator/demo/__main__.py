"""python -m migrator.demo: makes a lab, plays the demo on it, and ends the lab whatever happened."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys

from migrator.demo.play import play
from migrator.demo.show import Show
from migrator.demo.stage import Stage
from migrator.errors import MigratorError
from migrator.lab.guard import start_guard


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrator.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the lab up at the end (or set KEEP=1)")
    parser.add_argument("--name", default="demo", help="the lab's name (default: demo)")
    given = parser.parse_args()
    keep = given.keep or os.environ.get("KEEP", "0") not in ("", "0")
    return asyncio.run(_until_signal(given.name, keep))


async def _until_signal(lab: str, keep: bool) -> int:
    """Ctrl-C, SIGTERM and a closed terminal all end the demo early, in order: the lab goes as it does at the end."""
    show = Show()
    demo = asyncio.create_task(_demo(lab, keep, show))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, demo.cancel)
    try:
        return await demo
    except asyncio.CancelledError:
        show.line("interrupted", "bold red")
    except MigratorError as error:
        show.line(f"demo: {error}", "bold red")
    return 1


async def _demo(lab: str, keep: bool, show: Show) -> int:
    stage = Stage(lab)
    await stage.refuse_if_up()
    guard = None if keep else start_guard(lab)
    try:
        reasons = await play(stage, show)
        show.verdict(reasons)
        show.line(f"took {show.took()}")
        return 1 if reasons else 0
    finally:
        if keep:
            _say_how_to_go_on(stage, show)
        else:
            await stage.down_surely()
        if guard is not None:
            guard.dismiss()


def _say_how_to_go_on(stage: Stage, show: Show) -> None:
    show.title(f"lab {stage.lab} stays up. Use it with:")
    for name in ("MIGRATOR_CLUSTER", "MIGRATOR_JOURNAL"):
        show.line(f"  export {name}={stage.cli.env.get(name, '')}")
    show.line(f"  {stage.cli.program} ct list")
    show.line(f"end it with: {stage.cli.program} lab down --name {stage.lab}")


if __name__ == "__main__":
    sys.exit(main())
