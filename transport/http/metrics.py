"""Metrics for Prometheus, at /metrics. Counting costs each request a few additions; all other figures are read on demand."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from actors.app.gateway import Gateway
from actors.engine.histogram import Durations
from actors.engine.operating.gauges import Gauge
from actors.transport.http.replies import Reply, refusal


class RequestCounts:
    """Answers by (service, handler, status), and how long they took by (service, handler).

    Both names are empty for a request that reached no handler: strangers must not create labels.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, int], int] = {}
        self.durations: dict[tuple[str, str], Durations] = {}

    def add(self, service: str, handler: str, status: int, seconds: float) -> None:
        answer = (service, handler, status)
        self.answers[answer] = self.answers.get(answer, 0) + 1
        durations = self.durations.get((service, handler))
        if durations is None:
            durations = self.durations[service, handler] = Durations()
        durations.add(seconds)


async def metrics_reply(gateway: Gateway, requests: RequestCounts) -> Reply:
    """The answer of /metrics, in the text format of Prometheus."""
    try:
        client = importlib.import_module("prometheus_client")  # imported on first use: it loads a server of its own
    except ModuleNotFoundError:
        return refusal(
            501,
            "metrics_missing",
            "Metrics require prometheus-client: pip install 'virtual-actors[metrics]', and start again.",
        )
    registry = client.CollectorRegistry(auto_describe=False)
    gauges = await gateway.gauges()
    registry.register(_Collector(gateway, requests, gauges, importlib.import_module("prometheus_client.core")))
    for collector in (client.ProcessCollector, client.GCCollector):
        collector(registry=registry)
    return Reply(200, client.generate_latest(registry), ((b"content-type", client.CONTENT_TYPE_LATEST.encode()),))


class _Collector:
    def __init__(self, gateway: Gateway, requests: RequestCounts, gauges: list[Gauge], families: Any) -> None:
        self._gateway = gateway
        self._requests = requests
        self._gauges = gauges
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
        for (service, handler), durations in self._requests.durations.items():
            seconds.add_metric([service, handler], [*durations.buckets()], durations.seconds)
        yield seconds
        for name, (kind, what, value) in self._gateway.figures().items():
            family = core.CounterMetricFamily if kind == "counter" else core.GaugeMetricFamily
            yield family(name, what, value=value)
        commits = self._gateway.commit_durations()
        if commits is not None:
            family = core.HistogramMetricFamily(
                "actors_commit_seconds", "From the hand-over of a batch until it is durable."
            )
            family.add_metric([], [*commits.buckets()], commits.seconds)
            yield family
        for gauge in self._gauges:
            family = core.GaugeMetricFamily(gauge.name, gauge.what, labels=gauge.labels)
            for values, number in gauge.values.items():
                family.add_metric(values, number)
            yield family
