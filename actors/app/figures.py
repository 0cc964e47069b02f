"""The values counted while an app runs, for metrics."""

from __future__ import annotations

from actors.engine.partition import Partition


def figures(partition: Partition, recoveries: int) -> dict[str, tuple[str, str, float]]:
    """By name: "counter" or "gauge", the help text, and the current value. `recoveries`: how often the app was started again."""
    counts, committer = partition.env.counts, partition.committer
    return {
        "actors_app_running": (
            "gauge",
            "1 while the app runs, 0 while it has stopped.",
            0 if partition.stopped else 1,
        ),
        "actors_app_recoveries": (
            "counter",
            "How often the app was started again after its database had failed.",
            recoveries,
        ),
        "actors_invocations_succeeded": ("counter", "Invocations that returned.", counts.succeeded),
        "actors_invocations_failed": ("counter", "Invocations that ended as a failure.", counts.failed),
        "actors_attempts_failed": ("counter", "Attempts that failed and are tried again.", counts.failed_attempts),
        "actors_steps_failed": (
            "counter",
            "Executions of steps that failed under a retry policy of their own.",
            counts.failed_steps,
        ),
        "actors_steps_waited_long": (
            "counter",
            "Executions of steps that waited for a thread for more than a second.",
            partition.step_threads.waited_long,
        ),
        "actors_steps_queued": ("gauge", "Steps that wait for a thread.", len(partition.step_threads.waiting())),
        "actors_steps_running": (
            "gauge",
            "Steps that are being executed, or wait for it.",
            len(partition.steps.executing),
        ),
        "actors_loop_held_seconds": (
            "counter",
            "Seconds for which handlers held the event loop, counting only more than half a second at a time.",
            partition.turns.long_s,
        ),
        "actors_invocations_paused": ("counter", "Invocations that were paused.", counts.paused),
        "actors_commits": ("counter", "Transactions handed to the database.", committer.handed_over),
        "actors_invocations_in_memory": ("gauge", "Open invocations in memory.", len(partition.residents.open)),
        "actors_handlers_waiting": ("gauge", "Handlers in memory that wait.", len(partition.eviction.waiting)),
        "actors_invocations_kept": (
            "gauge",
            "Ended invocations kept, without those under a key.",
            partition.retention.count,
        ),
    }
