"""Sixteen readers while agents write: whatever they ask, no answer is a failure of the server.

How much is asked is counted, not timed: the agents write until every reader has asked every question some rounds long and
has seen the latest run that was acknowledged, at least two of them. What takes longer than `BUSY_SECONDS` stands still.
"""

import json
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx
from otlp_bodies import captured
from running_server import RunningServer
from senders import Senders, check_recorded

from tests.patience import BUSY_SECONDS

READERS = 16
ROUNDS = 2
ALL_SECONDS = 240.0  # For some 400 answers.
LISTS = {"runs": "/v1/runs", "events": "/v1/events", "points": "/v1/metric-points", "new": "/v1/steps"}
KINDS = (*LISTS, "run", "steps", "replay", "calls", "step", "state", "last")


class Reader(threading.Thread):
    """Asks every question in every round, about what it has seen so far, and keeps every answer that is not a 200.

    Has `done` when it has asked enough; it goes on until it is `told` to stop.
    """

    def __init__(self, server: RunningServer, senders: Senders, seed: int, told: threading.Event) -> None:
        super().__init__()
        self._server, self._senders, self._told = server, senders, told
        self._random = random.Random(seed)
        self._run_ids: list[str] = []
        self._step_ids: list[str] = []
        self.asked = Counter[str]()
        self.latest: set[str] = set()
        self.wrong: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self._server.ready["api"], timeout=BUSY_SECONDS, trust_env=False) as client:
                self._ask(client, "runs")  # So that there is something to ask about.
                self._ask(client, "new")
                while not self._told.is_set():
                    for kind in self._random.sample(KINDS, len(KINDS)):
                        self._ask(client, kind)
                    if min(self.asked[kind] for kind in KINDS) >= ROUNDS and len(self.latest) > 1:
                        self.done.set()
        except Exception as error:  # noqa: BLE001 - a thread's failure is the test's to tell
            self.wrong.append(repr(error))
        finally:
            self.done.set()

    def _ask(self, client: httpx.Client, kind: str) -> None:
        choose = self._random.choice
        parameters: dict[str, Any] = {}
        match kind:
            case "last":
                self._ask_for_the_latest(client)
                return
            case "run" | "steps" | "replay" | "calls":
                tail = {"run": "", "steps": "/steps", "replay": "/replay", "calls": "/tool-calls"}[kind]
                path = f"/v1/runs/{choose(self._run_ids)}{tail}"
                parameters = {"content": "inline"} if kind == "steps" else {}
            case "step":
                path = f"/v1/steps/{choose(self._step_ids)}"
            case "state":
                path = choose(("/healthz", "/readyz", "/metrics"))
            case _:
                path = LISTS[kind]
                parameters = {"limit": self._random.randint(1, 200)}
        answer = client.get(path, params=parameters)
        self.asked[kind] += 1
        if answer.status_code != 200:
            self.wrong.append(f"{answer.status_code} {answer.url}: {answer.text[:500]}")
            return
        self._learn(kind, answer)

    def _ask_for_the_latest(self, client: httpx.Client) -> None:
        """The run that was acknowledged last, whole, at its position: a view that is late says so, and is asked again."""
        assert self._senders.sent.last is not None
        trace_id, position = self._senders.sent.last
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            answer = client.get(f"/v1/runs/{trace_id}", params={"min_position": position})
            if answer.status_code != 504 or time.monotonic() > deadline:
                break
        self.asked["last"] += 1
        self.latest.add(trace_id)
        if answer.status_code != 200 or answer.json()["steps"] != self._senders.sent.tried[trace_id]:
            self.wrong.append(f"{answer.status_code} {answer.url}: {answer.text[:500]}")

    def _learn(self, kind: str, answer: httpx.Response) -> None:
        if kind == "runs":
            self._run_ids += [run["run_id"] for run in answer.json()["runs"]]
        elif kind == "new":
            self._step_ids += [step["step_id"] for step in answer.json()["steps"]]
        elif kind == "replay":
            events = [json.loads(line) for line in answer.text.splitlines()]
            if [event["position"] for event in events] != list(range(len(events))):
                self.wrong.append(f"{answer.url} has a hole")


def test_sixteen_readers_during_ingest_get_no_server_error(server: RunningServer) -> None:
    for request in captured("pydantic-ai-2.68-v5", "openai-genai-1.3b0-latest", "claude-agent-sdk-0.2.184"):
        server.record(request.signal, request.body)
    server.caught_up()
    with Senders(server, senders=2, service="writing", first_trace=1, seed=1) as senders:
        senders.wait_for(1, BUSY_SECONDS)
        told, deadline = threading.Event(), time.monotonic() + ALL_SECONDS
        readers = [Reader(server, senders, seed, told) for seed in range(READERS)]
        for reader in readers:
            reader.start()
        unfinished = [reader.asked for reader in readers if not reader.done.wait(max(deadline - time.monotonic(), 0))]
        senders.wait_for(READERS + 1, BUSY_SECONDS)
        told.set()
        for reader in readers:
            reader.join(BUSY_SECONDS)
            assert not reader.is_alive(), "a read was never answered"
    assert senders.breaks == []
    wrong = [answer for reader in readers for answer in reader.wrong]
    assert wrong == [], f"{len(wrong)}: {wrong[:3]}"
    assert unfinished == [], f"in {ALL_SECONDS:g} s"
    check_recorded(server, senders.sent, service="writing")
