"""What Prometheus reads. No label holds anything of a request: routes, statuses and the pool's model names only."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from racer.pool.ledger import Ledger
from racer.pool.panel import Panel

FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)  # seconds
WHOLE = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 31, 60, 120)  # seconds; 30 is the default deadline


class Metrics:
    """The server's own counts, apart from those of any other server in the process."""

    def __init__(self, ledger: Ledger):
        self.registry = CollectorRegistry()
        made = {"registry": self.registry}
        self.requests = Counter("racer_requests", "Requests answered", ["route", "status"], **made)
        self.seconds = Histogram("racer_request_seconds", "Time from a request to the end of its response", ["route"],
                                 buckets=WHOLE, **made)
        self.working = Gauge("racer_requests_working", "Requests at work", **made)
        self.waiting = Gauge("racer_requests_waiting", "Requests waiting for a place", **made)
        self.forward = Histogram("racer_forward_seconds", "Time of the forward pass a request was in", buckets=FAST,
                                 **made)
        self.overhead = Histogram("racer_overhead_seconds", "Time of a request without forward pass and model calls",
                                  buckets=FAST, **made)
        self.calls = Counter("racer_calls", "Calls of models, by their end", ["model", "end"], **made)
        self.tokens = Counter("racer_tokens", "Tokens of replies", ["model", "direction"], **made)
        self.usd = Counter("racer_usd", "USD of replies", ["model"], **made)
        self.replaced = Counter("racer_replaced", "Members whose place another took", ["model"], **made)
        self.abstained = Counter("racer_abstained", "Queries for which no model was asked or no answer was sure enough",
                                 **made)
        for name, text in (("spent", "USD of all calls, lost ones too"), ("held", "USD held back for calls under way")):
            gauge = Gauge(f"racer_usd_{name}", text, **made)
            gauge.set_function(lambda name=name: getattr(ledger, name))

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def count_calls(self, panel: Panel) -> None:
        """Count the calls of one query, however it ended; those that neither replied nor failed were cut off."""
        for reply in (*panel.replies.values(), *panel.remarks):
            name = reply.model
            self.calls.labels(name, "cached" if reply.cached else "replied").inc()
            if not reply.cached:
                self.tokens.labels(name, "in").inc(reply.usage.tokens_in)
                self.tokens.labels(name, "out").inc(reply.usage.tokens_out)
                self.usd.labels(name).inc(reply.usd)
        for name, usd in panel.streamed.items():
            self.calls.labels(name, "streamed").inc()
            self.usd.labels(name).inc(usd)
        for one in panel.failed:
            self.calls.labels(one.model, "failed").inc()
            if panel.took_over(one) is not None:
                self.replaced.labels(one.model).inc()
        failed = {one.model for one in panel.failed}
        for name in (*set(panel.called).difference(panel.replies, panel.streamed, failed),
                     *set(panel.questioned).difference({remark.model for remark in panel.remarks}, failed)):
            self.calls.labels(name, "cut off").inc()
