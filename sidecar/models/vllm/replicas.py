"""The servers of one model: who is up, who is asked next, and what happens when one fails.

down -> /health answers -> `verify` accepts it (golden pairs) -> up -> /health, or a request, finds
it gone -> down. A request goes to the server with the fewest tokens under way; if that fails, once
more to another. A server that goes down gives back at once what waits for it.

Everything here belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from sidecar.config import VllmConfig
from sidecar.errors import ModelError, ModelUnavailableError
from sidecar.metrics import REPLICA_REQUESTS, REPLICA_TOKENS, REPLICA_UP, WRONG_REPLICAS
from sidecar.models.vllm.client import Fault, ServedModel, ServerFault, VllmServer

T = TypeVar("T")
Question = Callable[[VllmServer, ServedModel], Awaitable[T]]
Verify = Callable[[VllmServer, ServedModel], Awaitable[None]]
_log = logging.getLogger(__name__)
# A server with wrong scores is asked again so many health checks later.
WRONG_SCORES_CHECKS = 30


class WrongScoresError(Exception):
    """A server answers, but is not the model that is wanted: the message says by how much."""


class Replica:
    """One server, watched. `served` is None while it is down, and `fault` then says why."""

    def __init__(self, model: str, server: VllmServer, verify: Verify, config: VllmConfig) -> None:
        self.server = server
        self.served: ServedModel | None = None
        self.tokens = 0  # under way
        self.fault = "not asked yet"
        self.is_wrong = False
        self._answered = 0.0  # time.monotonic() of its last answer
        self._model = model
        self._verify = verify
        self._config = config
        self._checking = asyncio.Lock()
        self._doubted = asyncio.Event()
        self._asked = asyncio.Event()
        self._lost = asyncio.Event()
        REPLICA_UP.labels(model, server.url).set(0)

    async def watch(self) -> None:
        """Checks it for ever; at once when it is doubted."""
        for number in itertools.count():
            if not self.is_wrong or number % WRONG_SCORES_CHECKS == 0:
                await self.check()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.health_seconds):
                    await self._doubted.wait()
            self._doubted.clear()

    async def check(self) -> None:
        """Asks for its health, and for its scores if it was down."""
        async with self._checking:
            try:
                await self.server.check_health(self._config.health_timeout_seconds)
                if self.served is None:
                    await self._take_up()
            except ServerFault as fault:
                self._set_down(fault.message)
            except WrongScoresError as error:
                self._set_down(str(error), is_wrong=True)
            self._asked.set()

    async def wait_asked(self) -> None:
        """Returns once it is known to be up or down."""
        await self._asked.wait()

    async def run(self, tokens: int, question: Question[T]) -> T:
        """Asks it. Raises ServerFault; GONE as soon as it goes down."""
        begun = time.monotonic()
        with self._counted(tokens):
            try:
                answer = await self._ask_while_up(question)
            except ServerFault as fault:
                self._doubt(fault, begun)
                raise
        self._answered = time.monotonic()
        return answer

    async def _ask_while_up(self, question: Question[T]) -> T:
        assert self.served is not None
        asking = asyncio.ensure_future(question(self.server, self.served))
        asking.add_done_callback(_take_note)
        losing = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({asking, losing}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise ServerFault(Fault.GONE, f"{self.server.url} went down: {self.fault}")
            return asking.result()
        finally:
            asking.cancel()
            losing.cancel()

    def _doubt(self, fault: ServerFault, begun: float) -> None:
        """A request that began at `begun` failed. Without a connection the server is down, and if
        it answered nobody since: /health may know nothing of an engine that hangs. Else its health
        is asked for now."""
        hangs = fault.fault is Fault.SLOW and self._answered < begun
        if self.served is not None and (fault.fault is Fault.GONE or hangs):
            self._set_down(fault.message)
        if fault.fault is not Fault.REFUSED:
            self._doubted.set()

    async def _take_up(self) -> None:
        served = await self.server.served_model()
        await self._verify(self.server, served)
        self.served, self.fault, self.is_wrong = served, "", False
        self._lost = asyncio.Event()
        REPLICA_UP.labels(self._model, self.server.url).set(1)
        _log.info("%s is served by %s", self._model, self.server.url)

    def _set_down(self, fault: str, is_wrong: bool = False) -> None:
        if is_wrong:
            WRONG_REPLICAS.labels(self._model, self.server.url).inc()
        if self.served is not None or fault != self.fault:
            _log.warning("%s is not served by %s: %s", self._model, self.server.url, fault)
        self.served, self.fault, self.is_wrong = None, fault, is_wrong
        self._lost.set()
        REPLICA_UP.labels(self._model, self.server.url).set(0)

    @contextlib.contextmanager
    def _counted(self, tokens: int) -> Iterator[None]:
        """Tokens under way, and what became of them."""
        gauge, outcome = REPLICA_TOKENS.labels(self._model, self.server.url), "answered"
        self.tokens += tokens
        gauge.inc(tokens)
        try:
            yield
        except ServerFault as fault:
            outcome = fault.fault.value
            raise
        except asyncio.CancelledError:
            outcome = "abandoned"
            raise
        finally:
            self.tokens -= tokens
            gauge.dec(tokens)
            REPLICA_REQUESTS.labels(self._model, self.server.url, outcome).inc()


def _take_note(done: asyncio.Future[T]) -> None:
    """Of an exception that nobody waits for any more."""
    if not done.cancelled():
        done.exception()


class Replicas:
    """The servers of one model, watched until their loop is closed."""

    def __init__(
        self, model: str, servers: Sequence[VllmServer], verify: Verify, config: VllmConfig
    ) -> None:
        self._model = model
        self._all = [Replica(model, server, verify, config) for server in servers]
        self._watching = [asyncio.ensure_future(replica.watch()) for replica in self._all]

    async def attach(self, seconds: float) -> None:
        """Returns once all are known to be up or down, or one is up when `seconds` are over.

        None reached is no failure: they are taken when they come. Raises ModelError if those that
        were reached are all wrong.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(replica.wait_asked() for replica in self._all))
        if self.is_served:
            return
        faults = "; ".join(f"{each.server.url}: {each.fault}" for each in self._all)
        if any(replica.is_wrong for replica in self._all):
            raise ModelError(f"no server of {self._model} serves it: {faults}")
        _log.warning("no server of %s answers yet: %s", self._model, faults)

    @property
    def is_served(self) -> bool:
        """Whether one is up."""
        return any(replica.served for replica in self._all)

    async def ask(self, tokens: int, question: Question[T]) -> T:
        """The answer of one of them; after a failure another is asked, once.

        Raises ModelUnavailableError if none is up or answers, ModelError if the input may be why.
        """
        replica = self._least_loaded([])
        try:
            return await replica.run(tokens, question)
        except ServerFault as fault:
            if fault.fault is Fault.REFUSED:
                raise ModelError(fault.message) from None
            if fault.fault is Fault.SLOW:
                raise ModelUnavailableError(fault.message) from None
            return await self._ask_another(tokens, question, replica, fault)

    async def tell_all(self, question: Question[None]) -> None:
        """Asks every server that is up; whether they answer does not matter."""
        for replica in self._all:
            if replica.served is not None:
                with contextlib.suppress(ServerFault):
                    await replica.run(0, question)

    async def ask_all(self, questions: Sequence[tuple[int, Question[T]]], limit: int) -> list[T]:
        """The answers to (tokens, question), `limit` at a time; the first error ends all."""
        free = asyncio.Semaphore(limit)

        async def one(tokens: int, question: Question[T]) -> T:
            async with free:
                return await self.ask(tokens, question)

        tasks = [asyncio.ensure_future(one(*each)) for each in questions]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _ask_another(
        self, tokens: int, question: Question[T], failed: Replica, first: ServerFault
    ) -> T:
        try:
            replica = self._least_loaded([failed])
        except ModelUnavailableError:
            raise await self._error_of(first, failed) from None
        try:
            return await replica.run(tokens, question)
        except ServerFault as fault:
            raise await self._error_of(fault, replica) from None

    async def _error_of(self, fault: ServerFault, replica: Replica) -> ModelError:
        """A server that failed but is well otherwise was not up to its input."""
        if fault.fault is Fault.REFUSED:
            return ModelError(fault.message)
        if fault.fault is Fault.FAILED:
            await replica.check()
            if replica.served:
                return ModelError(fault.message)
        return ModelUnavailableError(f"no server of {self._model} answers: {fault.message}")

    def _least_loaded(self, without: Sequence[Replica]) -> Replica:
        ready = [each for each in self._all if each.served and each not in without]
        if not ready:
            faults = "; ".join(f"{r.server.url}: {r.fault}" for r in self._all if not r.served)
            raise ModelUnavailableError(f"no server of {self._model} is up: {faults}")
        return min(ready, key=lambda replica: replica.tokens)
