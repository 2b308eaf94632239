"""Step scripts: what is done to a source `s` and a target `t`, as data, one act a line.

ROLE VERB ARGS...       calls a verb; {0} is the container's token before the script, {1} the next one, and so on;
                        {peer}, {host_key}, {address}, {key}, {id_base}, {digest} and {room} are what the nodes gave
start ACT ...           any of these, and what is true then is not looked at: something goes on
twice ROLE VERB ...     the same, and once more
cut ROLE VERB ...       the caller's connection is cut while the verb waits for the node's lock; then asked again
put ROLE TOKEN          the files that describe the container, as the source has them
crash ROLE, boot ROLE   power
kill ROLE               the container's processes die, and a restore that held them ends
watchdog TOKEN          until the source's watchdog has ended
runs ROLE               until the container's processes run there
maim ROLE               one of the container's processes dies, not its first
end_job ROLE TOKEN NAME a job is killed
lose ROLE TOKEN         the images that have come are removed
bridge ROLE NAME        the container's network there names this bridge; a node has br0 alone
part, heal              the wire between the two nodes
do STEP, undo STEP      a step of the product, on a move made from both nodes
table ROLE              every verb with every kind of token that does not take effect in this state
"""

from __future__ import annotations

LEASED = """
s lease web {0} {1} r
t lease web 0 {1} r
"""
RESERVED = f"""{LEASED}
t reserve web {{1}} {{room}}
"""
PREPARED = f"""{RESERVED}
s prepare web {{1}} source debian {{id_base}} 100000000 0
t prepare web {{1}} target debian {{id_base}} 100000000 0
put t {{1}}
"""
LINKED = f"""{PREPARED}
s keygen web {{1}} {{peer}}
t admit web {{1}} {{address}} 600 {{key}}
s link web {{1}} root {{peer}} 22 {{host_key}}
"""
SEEDED = f"""{LINKED}
s job web {{1}} files1 30 send-files web {{1}} 1
"""
FENCED = f"""{SEEDED}
s fence web {{1}} 300
"""
DUMPED = f"""{FENCED}
s job web {{1}} dump 30 dump web {{1}} images
"""
SYNCED = f"""{DUMPED}
s job web {{1}} files-final 30 send-files web {{1}} final
"""
HELD = f"""{SYNCED}
start t job web {{1}} restore 0 restore web {{1}} images
t await-held web {{1}} 30
"""
SEALED = f"""{HELD}
s seal web {{1}}
"""
RELEASED = f"""{SEALED}
t release web {{1}}
"""
RETIRED = f"""{RELEASED}
s retire web {{1}}
"""
SETTLED = f"""{RETIRED}
t settle web {{1}} 2 r
"""

# By restart.
STOPPED = f"""{SEEDED.replace(" 100000000 0", " 100000000 none")}
s stop web {{1}} 300 5
"""
CREATED = f"""{STOPPED}
s job web {{1}} files-final 30 send-files web {{1}} final
t job web {{1}} restore 30 restore web {{1}} files
t await-held web {{1}} 1
"""
STOPPED_AND_SEALED = f"""{CREATED}
s seal web {{1}}
"""
BEGUN = f"""{STOPPED_AND_SEALED}
t release web {{1}}
"""
RESTARTED = f"""{BEGUN}
s retire web {{1}}
t settle web {{1}} 2 r
"""


def twice(script: str) -> str:
    """Each call of a script made twice."""
    return _each("twice", script)


def cut(script: str) -> str:
    """Each call of a script cut off, and asked again."""
    return _each("cut", script)


def _each(word: str, script: str) -> str:
    lines = [line for line in script.splitlines() if line]
    return "\n".join(f"{word} {line}" if line[:2] in ("s ", "t ") else line for line in lines)


def watched(script: str, deadline_s: int = 1) -> str:
    """The same with a watchdog that fires soon."""
    return script.replace("fence web {1} 300", f"fence web {{1}} {deadline_s}")


def new_in(longer: str, shorter: str) -> str:
    """What a script does after another that it begins with."""
    assert longer.startswith(shorter)
    return longer[len(shorter) :]


_TABLES = "table s\ntable t\n"
STAGES = {
    "leased": LEASED,
    "reserved": RESERVED,
    "prepared": PREPARED,
    "linked": LINKED,
    "seeded": SEEDED,
    "fenced": FENCED,
    "dumped": DUMPED,
    "synced": SYNCED,
    "held": HELD,
    "sealed": SEALED,
    "released": RELEASED,
    "retired": RETIRED,
    "settled": SETTLED,
}
UNDECIDED = tuple(STAGES)[:10]


def tabled(*names: str) -> str:
    """A whole move, and in each of these states everything that must not take effect there."""
    text, before = _TABLES, ""
    for name, stage in STAGES.items():
        text += new_in(stage, before) + (_TABLES if name in names else "")
        before = stage
    return text


# How a move that did not commit is taken back, and what comes late then.
ABORT = """
s thaw web {1} r
t discard-target web {1} r
s settle web {1} 1 r
"""
LATE = """
t lease web 0 {1} r
s lease web {0} {1} r
s fence web {1} 300
t discard-target web {1} r
s settle web {1} 1 r
s thaw web {1} r
t settle web {1} 2 r
t release web {1}
s retire web {1}
"""
# Somebody else goes on with the same run, and then takes it back.
TAKEN_OVER = """
s lease web {1} {2} r
t lease web {1} {2} r
s inspect web
t inspect web
s fence web {1} 300
s seal web {1}
t release web {1}
t discard-target web {1} r
"""
ABORT_LATER = ABORT.replace("{1}", "{2}")
LOOK = """
s inspect web
t inspect web
"""
RECLAIM = """
s thaw web {1} r
s seal web {1}
s fence web {1} 300
s reclaim web {1}
s reclaim web {1}
t discard-target web {1} r
s settle web {1} 1 r
s ct-start web
"""


def down(script: str, *roles: str) -> str:
    """After a script, power is lost and comes back."""
    return script + "".join(f"crash {role}\nboot {role}\n" for role in roles) + LOOK


# The product's own steps. The last pass over the files goes on when the dump has ended.
_STEPS = ("lease", "check", "reserve", "seed", "fence", "dump", "sync", "restore", "verify", "seal")
DONE_BY_STEPS = "".join(f"{'start ' if name in ('fence', 'dump') else ''}twice do {name}\n" for name in _STEPS)
UNDONE_BY_STEPS = "".join(f"twice undo {name}\n" for name in ("fence", "reserve", "lease"))

# Everything that `make test` plays.
SCRIPTS: dict[str, str] = {
    "a whole move": SETTLED + LATE,
    "every call of a move made twice": twice(SETTLED),
    "every call of a move cut off and asked again": cut(SETTLED),
    "every step of a move done twice": DONE_BY_STEPS + "twice do release\ntwice do remove\ntwice do settle\n",
    "every step undone twice": DONE_BY_STEPS + UNDONE_BY_STEPS,
    "a target whose bridge has vanished": f"""{SYNCED}
bridge t br9
start t job web {{1}} restore 0 restore web {{1}} images
t await-held web {{1}} 30
{new_in(SETTLED, HELD)}t ct-start web
t inspect web
bridge t br0
t ct-start web
t inspect web
""",
    "volumes that are not there": """
s mark-volume web data w
s unmark-volume web data w
t see-mark /no/such 9961472 w
""",
    "a lease late and a token raised at rest": """
s settle web {3} 1
s lease web {0} {1} r
t discard-target web {3} r
t lease web 0 {2} r
t lease web 0 {4} r
t cordon r
t inspect web
t discard-target web {4} other
t discard-target web {4} r
t uncordon
s lease web {3} {5} r
s settle web {5} 1 other
s settle web {5} 1 r
""",
    "taken back when fenced": FENCED + ABORT + LATE,
    "taken back when sealed": SEALED + ABORT + LATE,
    "taken over when linked": LINKED + TAKEN_OVER + ABORT_LATER,
    "taken over when synced": SYNCED + TAKEN_OVER + ABORT_LATER,
    "taken over when held": HELD + TAKEN_OVER + ABORT_LATER,
    "the watchdog was first": watched(FENCED) + "watchdog {1}\n" + LOOK + "s seal web {1}\n" + ABORT,
    "two that have one journal": """
twice s lease web {0} {1} r one
s lease web {0} {1} r other
twice t lease web 0 {1} r one
t lease web 0 {1} r other
t discard-target web {1} r/other
s thaw web {1} r/other
s settle web {1} 1 r/other
"""
    + LOOK
    + """
t discard-target web {1} r/one
s thaw web {1} r/one
s settle web {1} 1 r/one
""",
    "a held copy is killed": HELD + "kill t\n" + LOOK + "t release web {1}\nt await-held web {1} 1\n" + ABORT,
    "a part of a held copy is killed": HELD + "maim t\n" + LOOK + "t await-held web {1} 1\nt release web {1}\n" + ABORT,
    "a fenced source is killed": FENCED + "kill s\n" + LOOK + RECLAIM,
    "a restore fails": SYNCED
    + """
lose t {1}
start t job web {1} restore 0 restore web {1} images
start t await-held web {1} 30
t job web {1} restore 30 restore web {1}
"""
    + LOOK
    + ABORT,
    "a source loses power when fenced": down(FENCED, "s") + RECLAIM,
    "a target loses power when held": down(HELD, "t") + "t release web {1}\nt await-held web {1} 1\n" + ABORT,
    "by restart, every call made twice": twice(RESTARTED) + LATE + "s stop web {1} 300 5\n",
    "by restart, taken back when created": CREATED + LOOK + twice(ABORT) + LATE,
    "by restart, a source loses power when stopped": down(STOPPED, "s") + ABORT,
}
_TABLED_FIRST = ("leased", "fenced", "sealed", "released")
TABLED = tabled(*_TABLED_FIRST)
TABLED_FULL = tabled(*(name for name in STAGES if name not in _TABLED_FIRST))
FULL: dict[str, str] = {
    **{f"taken back when {name}": STAGES[name] + ABORT + LATE for name in UNDECIDED},
    **{f"taken over when {name}": STAGES[name] + TAKEN_OVER + ABORT_LATER for name in UNDECIDED},
    **{f"a source loses power when {name}": down(STAGES[name], "s") + RECLAIM for name in UNDECIDED},
    **{f"a target loses power when {name}": down(STAGES[name], "t") + ABORT + LATE for name in UNDECIDED},
    "a source loses power when released": down(RELEASED, "s") + new_in(SETTLED, RELEASED),
    "a target loses power when released": down(RELEASED, "t")
    + new_in(SETTLED, RELEASED).replace("t settle", "start t settle")
    + "runs t\n",
    "a source loses power at rest": "crash s\nstart boot s\nruns s\n" + LOOK,
    "both lose power when sealed": down(SEALED, "s", "t") + "t release web {1}\n" + RECLAIM,
    "the watchdog comes when the copy is held": watched(HELD, 8) + "watchdog {1}\n" + LOOK + "s seal web {1}\n" + ABORT,
    "a source that serves is killed": PREPARED + "kill s\n" + LOOK + "s fence web {1} 300\n" + ABORT,
    "a released copy is killed": RELEASED
    + "kill t\n"
    + LOOK
    + "s retire web {1}\nstart t settle web {1} 2 r\nruns t\n"
    + LOOK,
    "keys revoked by a later lease": LINKED
    + """
t lease web {1} {2} r
s job web {1} files1 30 send-files web {1} 1
s link web {1} root {peer} 22 {host_key}
"""
    + ABORT,
    "a key that has ended": PREPARED
    + """
s keygen web {1} {peer}
t admit web {1} {address} 0 {key}
s link web {1} root {peer} 22 {host_key}
"""
    + ABORT,
    "no room": LEASED + "t reserve web {1} 1000 1 1 999 9 9\nt reserve web {1} 1 1000 1 9 999 9\n" + ABORT,
    "images come once": DUMPED + "s job web {1} dump2 30 dump web {1} images\n" + ABORT,
    "files that come when a copy is held": HELD + "s job web {1} files9 30 send-files web {1} 9\n" + ABORT,
    "a pass that hangs is ended by a later lease": SEEDED
    + """
part
start s job web {1} files2 0 send-files web {1} 2
s lease web {1} {2} r
heal
s inspect web
t lease web {1} {2} r
"""
    + ABORT_LATER,
    "a pass that hangs ends when its link does": SEEDED
    + """
part
s job web {1} files2 60 send-files web {1} 2
heal
s job web {1} files3 60 send-files web {1} 3
s link web {1} root {peer} 22 {host_key}
s job web {1} files4 60 send-files web {1} 4
"""
    + ABORT,
    "a job that was killed is lost": SEEDED
    + """
part
start s job web {1} files2 0 send-files web {1} 2
end_job s {1} files2
s job web {1} files2 5 send-files web {1} 2
s job web {1} files2 0 send-files web {1} 2
start heal
s inspect web
"""
    + ABORT,
    "stopped, and only a start has effect": "twice s ct-stop web 0\ntable s\ntable t\n"
    + LOOK
    + "twice s ct-start web\n",
    "stopped and leased": "s ct-stop web 0\n" + LEASED + "s fence web {1} 300\ntable s\n" + ABORT + "s ct-start web\n",
    "by restart, every call cut off and asked again": cut(RESTARTED),
    "by restart, taken over when stopped": STOPPED + TAKEN_OVER + ABORT_LATER,
    "by restart, taken over when sealed": STOPPED_AND_SEALED + TAKEN_OVER + "s thaw web {2} r\ns settle web {2} 1 r\n",
    "by restart, a target loses power when created": down(CREATED, "t")
    + "t release web {1}\nt await-held web {1} 1\n"
    + ABORT,
    "by restart, both lose power when sealed": down(STOPPED_AND_SEALED, "s", "t") + "t release web {1}\n" + ABORT,
    "by restart, a target loses power when it has begun": down(BEGUN, "t") + "twice t release web {1}\n" + LOOK,
    "by restart, the watchdog was first": STOPPED.replace("{1} 300 5", "{1} 2 5")
    + "watchdog {1}\n"
    + LOOK
    + "s seal web {1}\ns stop web {1} 300 5\n"
    + ABORT,
    "taken back cold": FENCED + "kill s\ns reclaim web {1}\ntable s\ntable t\n" + ABORT,
}
