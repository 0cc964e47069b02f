"""What Prometheus is told at /metrics. Counting costs a request a few additions; all else is read when it is asked for."""

from __future__ import annotations

import importlib
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from actors.gateway import Gateway
from actors.transport.replies import Reply, refusal

# Upper bounds in seconds: from a warm call without load to what people give up on.
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class RequestCounts:
    """Answers by (service, handler, status), and how long they took by (service, handler).

    Both names are empty for what reached no handler: strangers must not make labels.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, int], int] = {}
        self.seconds: dict[tuple[str, str], list[float]] = {}  # a number for each bound, one beyond, and the sum

    def add(self, service: str, handler: str, status: int, seconds: float) -> None:
        answer = (service, handler, status)
        self.answers[answer] = self.answers.get(answer, 0) + 1
        timed = self.seconds.get((service, handler))
        if timed is None:
            timed = self.seconds[service, handler] = [0.0] * (len(BOUNDS_S) + 2)
        timed[bisect_left(BOUNDS_S, seconds)] += 1
        timed[-1] += seconds


def metrics_reply(gateway: Gateway, requests: RequestCounts) -> Reply:
    """The answer of /metrics, in the text format of Prometheus."""
    try:
        client = importlib.import_module(
            "prometheus_client"
        )  # not before it is asked for: it brings a server of its own
    except ModuleNotFoundError:
        return refusal(
            501,
            "metrics_missing",
            "Metrics need prometheus-client: pip install 'virtual-actors[metrics]', and start again.",
        )
    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(_Collector(gateway, requests, importlib.import_module("prometheus_client.core")))
    for collector in (client.ProcessCollector, client.GCCollector):
        collector(registry=registry)
    return Reply(200, client.generate_latest(registry), ((b"content-type", client.CONTENT_TYPE_LATEST.encode()),))


class _Collector:
    def __init__(self, gateway: Gateway, requests: RequestCounts, families: Any) -> None:
        self._gateway = gateway
        self._requests = requests
        self._families = families

    def collect(self) -> Iterator[Any]:
        core = self._families
        answers = core.CounterMetricFamily(
            "actors_http_requests", "Answers over HTTP.", labels=["service", "handler", "status"]
        )
        for (service, handler, status), count in self._requests.answers.items():
            answers.add_metric([service, handler, str(status)], count)
        yield answers
        seconds = core.HistogramMetricFamily(
            "actors_http_request_seconds", "From a request's head to its answer.", labels=["service", "handler"]
        )
        for (service, handler), timed in self._requests.seconds.items():
            buckets, below = [], 0.0
            for bound, number in zip((*map(str, BOUNDS_S), "+Inf"), timed, strict=False):
                below += number
                buckets.append((bound, below))
            seconds.add_metric([service, handler], buckets, timed[-1])
        yield seconds
        for name, (kind, what, value) in self._gateway.figures().items():
            family = core.CounterMetricFamily if kind == "counter" else core.GaugeMetricFamily
            yield family(name, what, value=value)
