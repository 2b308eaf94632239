"""Searches side by side, one a process: this process is the first, and the others end when it says so or is gone."""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Event

from migrator.cli.signals import SIGNALS
from migrator.roadef.instance import Instance
from migrator.roadef.search import MIXES, search

RESERVE_S = 0.5  # for the end: gathering, judging and writing the answer


@dataclass(frozen=True)
class Task:
    """What every worker is to do. `begin_s` is on the monotonic clock, which all processes of a machine share."""

    instance: Instance
    start: list[int]
    iterations: int | None
    seconds: float | None
    begin_s: float


@dataclass(frozen=True)
class Answer:
    places: list[int]
    iterations: int
    memory_bytes: int


def run(task: Task, seed: int, workers: int) -> tuple[list[Answer], bool]:
    """The answers of all workers, and whether a signal ended them early. Each has its seed and its mix of steps."""
    asked = Event()
    SIGNALS.working(asked.set)
    context = multiprocessing.get_context("spawn")
    pipes = []
    for n in range(1, workers):
        ours, theirs = context.Pipe()
        child = context.Process(target=_child, args=(theirs, task, seed, n, workers), daemon=True)
        child.start()
        theirs.close()
        pipes.append((child, ours))
    answers = [_work(task, seed, 0, workers, asked.is_set)]
    for child, pipe in pipes:
        if asked.is_set():
            pipe.send("stop")
        answer = _received(pipe, asked)
        if answer is not None:  # else it was killed, and the others have answered
            answers.append(answer)
        child.join()
    SIGNALS.over()
    return answers, asked.is_set()


def _received(pipe: Connection, asked: Event) -> Answer | None:
    told = asked.is_set()
    try:
        while not pipe.poll(0.2):
            if asked.is_set() and not told:
                pipe.send("stop")
                told = True
        answer: Answer = pipe.recv()
        return answer
    except (EOFError, OSError):
        return None


def _child(pipe: Connection, task: Task, seed: int, n: int, workers: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):  # which a terminal sends to all: the first process decides
        signal.signal(number, signal.SIG_IGN)
    answer = _work(task, seed, n, workers, pipe.poll)
    try:
        pipe.send(answer)
    except OSError:
        return  # the first process is gone


def _work(task: Task, seed: int, n: int, workers: int, stopped: Callable[[], bool]) -> Answer:
    mix = MIXES[n % len(MIXES)]
    found = search(task.instance, task.start, seed * workers + n, _progress(task, stopped), mix)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Answer(found.places, found.iterations, memory)


def _progress(task: Task, stopped: Callable[[], bool]) -> Callable[[int], float]:
    """How much of the way is done: by steps, if they are given, and else by time; 1 when something ends it early."""
    end_s = None if task.seconds is None else task.begin_s + task.seconds - min(RESERVE_S, 0.1 * task.seconds)

    def progress(iterations: int) -> float:
        now_s = time.monotonic()
        if stopped() or (end_s is not None and now_s >= end_s):
            return 1.0
        if task.iterations is not None:
            return iterations / task.iterations if task.iterations else 1.0
        assert end_s is not None  # noqa: S101
        return (now_s - task.begin_s) / (end_s - task.begin_s)

    return progress
