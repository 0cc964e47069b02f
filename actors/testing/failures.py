"""What a world says about a test that fails."""

from __future__ import annotations

from actors.errors import ActorsError


class Stuck(ActorsError, AssertionError):
    """Nothing can happen any more, and the test still waits. The message says who waits for what."""

    error = "stuck"


class WorldFailed(ActorsError, AssertionError):
    """The test has passed, and a witness has seen what must not be: a paused invocation, an answer that the code does not explain."""

    error = "world_failed"


class MisusedWorld(ActorsError):
    """A request to a world that it cannot do, or in the wrong order. The message says what to write instead."""

    error = "misused_world"


class NotReproducible(ActorsError, AssertionError):
    """The same run, done again, went another way. The message shows the first difference."""

    error = "not_reproducible"


class NoNetwork(ActorsError):
    """A world has no sockets, pipes, signals or processes."""

    error = "no_network"
