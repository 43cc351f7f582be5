"""Processes that run at the same time; one signal to stop reaches all of them."""

import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

_STOPS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Processes:
    """Runs commands, each in a thread that waits for it, until it is asked to stop."""

    def __init__(self) -> None:
        self._live: set[subprocess.Popen[bytes]] = set()
        # A signal may come while another one is being handed on.
        self._lock = threading.RLock()
        self._stopped = False

    def run(self, words: Sequence[str], output: IO[str], environment: Mapping[str, str]) -> int:
        """Run a command to its end.

        Args:
            words: The command.
            output: File for what it says.
            environment: All its variables.

        Returns:
            Its exit code.

        Raises:
            KeyboardInterrupt: If it was asked to stop, or there is nothing to begin any more.
        """
        with self._lock:
            self.go_on()
            process = subprocess.Popen(
                words, stdout=output, stderr=subprocess.STDOUT, env=environment
            )
            self._live.add(process)
        code = process.wait()
        with self._lock:
            self._live.remove(process)
        self.go_on()
        return code

    def go_on(self) -> None:
        """Go on only where nobody wants to stop.

        Raises:
            KeyboardInterrupt: If somebody does.
        """
        if self._stopped:
            raise KeyboardInterrupt

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Begin nothing more and hand a signal to what runs, so that training saves and stops."""
        with self._lock:
            self._stopped = True
            for process in self._live:
                process.send_signal(number)

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Hand signals that ask this process to stop on to all others; for the main thread."""

        def hand_on(number: int, frame: Any) -> None:
            # The keyboard sends Ctrl-C to every process; a second one would mean: without saving.
            self.stop(signal.SIGTERM if number == signal.SIGINT else number)

        before = {number: signal.signal(number, hand_on) for number in _STOPS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
