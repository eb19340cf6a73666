"""Sixteen readers while agents write: whatever they ask, no answer is a failure of the server."""

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

READERS = 16
SECONDS = 3.0
KINDS = ("runs", "run", "steps", "replay", "calls", "step", "events", "points", "new", "state")


class Reader(threading.Thread):
    """Asks one thing after another about what it has seen so far, and keeps every answer that is not a 200."""

    def __init__(self, server: RunningServer, senders: Senders, seed: int, until: float) -> None:
        super().__init__()
        self._server, self._senders, self._until = server, senders, until
        self._random = random.Random(seed)
        self._run_ids: list[str] = []
        self._step_ids: list[str] = []
        self.asked = Counter[str]()
        self.wrong: list[str] = []

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self._server.ready["api"], timeout=30, trust_env=False) as client:
                while time.monotonic() < self._until:
                    self._ask(client)
        except Exception as error:  # noqa: BLE001 - a thread's failure is the test's to tell
            self.wrong.append(repr(error))

    def _ask(self, client: httpx.Client) -> None:
        choose = self._random.choice
        kind = choose(KINDS)
        parameters: dict[str, Any] = {"limit": self._random.randint(1, 200)}
        match kind:
            case "runs":
                path = "/v1/runs"
                if self._senders.sent.last_position and self._random.random() < 0.5:
                    parameters["min_position"] = self._senders.sent.last_position
            case "run" | "steps" | "replay" | "calls" if self._run_ids:
                tail = {"run": "", "steps": "/steps", "replay": "/replay", "calls": "/tool-calls"}[kind]
                path = f"/v1/runs/{choose(self._run_ids)}{tail}"
                parameters = {"content": "inline"} if kind == "steps" else {}
            case "step" if self._step_ids:
                path, parameters = f"/v1/steps/{choose(self._step_ids)}", {}
            case "events":
                path = "/v1/events"
            case "points":
                path = "/v1/metric-points"
            case "new":
                path = "/v1/steps"
            case _:  # Asked for, or nothing is known yet that could be asked about.
                kind, path, parameters = "state", choose(("/healthz", "/readyz", "/metrics")), {}
        answer = client.get(path, params=parameters)
        self.asked[kind] += 1
        if answer.status_code != 200:
            self.wrong.append(f"{answer.status_code} {answer.url}: {answer.text[:500]}")
            return
        self._learn(kind, answer)

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
    with Senders(server, senders=2, service="writing", first_trace=1, seed=1) as senders:
        until = time.monotonic() + SECONDS
        readers = [Reader(server, senders, seed, until) for seed in range(READERS)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(60)
            assert not reader.is_alive(), "a read was never answered"
    assert senders.breaks == []
    wrong = [answer for reader in readers for answer in reader.wrong]
    assert wrong == [], f"{len(wrong)}: {wrong[:3]}"
    asked = sum((reader.asked for reader in readers), Counter[str]())
    assert set(asked) == set(KINDS)
    assert sum(asked.values()) > 8 * READERS
    assert len(senders.sent.acknowledged) > READERS
    check_recorded(server, senders.sent, service="writing")
