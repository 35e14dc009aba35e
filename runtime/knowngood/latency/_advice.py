"""What would shorten the tail on this computer: only what it does not do yet."""

from __future__ import annotations

from collections.abc import Iterator

from ._result import BenchResult

MUCH_STEAL = 0.001


def advice(result: BenchResult) -> list[str]:
    """A line for each thing found, the cheapest to change first."""
    return [*_of_thread(result), *_of_system(result), *_of_neighbours(result)]


def _of_thread(result: BenchResult) -> Iterator[str]:
    host, plan = result.host, result.plan
    if not host.is_pinned:
        yield "bind the tester's scoring thread to a core of its own (--core N shows what it gains)"
    if not plan.realtime and any(met and met.preemptions for met in result.events):
        yield "give it real-time priority (--realtime): other threads were run in its place"
    if plan.realtime and host.realtime_share is not None and host.realtime_share < 1:
        yield (
            f"the kernel stops real-time threads that use more than {host.realtime_share:.0%} of a "
            "second (sched_rt_runtime_us); the calls were made with rests, so as not to time that"
        )


def _of_system(result: BenchResult) -> Iterator[str]:
    host = result.host
    if host.is_pinned and not host.isolated:
        core = host.cpus[0]
        yield (
            f"keep everything else off core {core}: isolcpus={core} nohz_full={core} "
            f"rcu_nocbs={core} on the kernel's command line"
        )
    if host.governors and host.governors != ("performance",):
        found = "/".join(host.governors)
        yield f"governor {found}: performance keeps the clock frequency up between touchdowns"
    if host.siblings:
        threads = " ".join(map(str, host.siblings))
        yield f"leave hardware threads {threads} idle, or switch SMT off: they share our cores"


def _of_neighbours(result: BenchResult) -> Iterator[str]:
    host, steal = result.host, result.activity.steal_share
    if steal is not None and steal > MUCH_STEAL:
        yield f"the hypervisor gave {steal:.2%} of our time to others: ask for dedicated cores"
    if host.load_average and host.load_average[0] > host.n_cpus:
        yield (
            f"{host.load_average[0]:.1f} threads wanted to run on {host.n_cpus} processors: stop "
            "what need not run on a tester"
        )
