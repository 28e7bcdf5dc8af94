"""Objects of a store in a bucket as one run writes them: each put on a condition that a later run makes false.

A run that is paused between a check of its lease and a put would damage the store of the run that took over meanwhile.
So each put names the generation that the object must have, as known at a time when the run held the lease. A run that
takes over first *fences* what the earlier one may still write: it puts each object again, with bytes that differ but
say the same, and only then reads what it trusts. From then on the conditions of all earlier runs are false.

In S3 a generation is a digest of the bytes. So the bytes of each put are unique (`etl.store.marks`); else an object
could return to the state that an earlier run waits for.

Source: M. Kleppmann, "How to do distributed locking" (fencing tokens); Amazon S3 User Guide, conditional writes.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from etl.store.errors import TakenOverError
from etl.store.location import Location
from etl.store.object_store import ABSENT, Version, read_versions, write_if_equal

if TYPE_CHECKING:
    from mpi4py import MPI

    from etl.store.lease import Lease

__all__ = ["FencedObjects"]

_ABSENT_AT_ONCE = 256
"""Objects that are fenced together without being read."""


class FencedObjects:
    """Objects below `location` with the generation of each as this run knows it.

    An object of which none is known is put only if there is none.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.lease: Lease | None = None
        """The lease of the run; rank 0 alone holds it."""
        self._generations: dict[str, bytes] = {}
        self._new: dict[str, bytes] = {}

    def put(self, objects: Mapping[str, bytes]) -> None:
        """Put objects, each whole or not at all, all requested at once.

        Raises:
            TakenOverError: another run has written one of them.
            OSError: one cannot be written.
        """
        conditions = {name: self._generations.get(name, ABSENT) for name in objects}
        written = write_if_equal(self.location, objects, conditions)
        self._note({name: generation for name, generation in written.items() if generation})
        refused = [name for name, generation in written.items() if not generation]
        if refused:
            self.require_held()  # which names the other run, if it can
            raise TakenOverError(
                f"{self.location / refused[0]} is not as this run has left it: another run has taken the store over, "
                "or a person has changed it"
            )

    def append(self, name: str, data: bytes) -> None:
        """Put an object with `data` at its end.

        Raises:
            TakenOverError: another run has written it.
            OSError: it cannot be read or written.
        """
        version = read_versions(self.location, [name])[name]
        # of a state that another run wrote meanwhile, the put is refused
        self.put({name: (version.data or b"") + data})

    def fence(self, names: Iterable[str], unique: Callable[[str, bytes | None], bytes], at_once: int) -> None:
        """Put each object again, as `unique` gives it from its name and bytes; no earlier run can then put it any more.

        `at_once`: how many are in memory together. On rank 0.

        Raises:
            TakenOverError: another run has taken the lease.
            OSError: one cannot be read or written.
        """
        names = list(names)
        for first in range(0, len(names), at_once):
            refused = names[first : first + at_once]
            while refused:  # an earlier run may still write them: then once more
                refused = self._fence(read_versions(self.location, refused), unique)

    def fence_absent(self, names: Iterable[str], unique: Callable[[str, bytes | None], bytes]) -> None:
        """Do what `fence` does, for objects that are probably absent: they are not read first."""
        names = list(names)
        for first in range(0, len(names), _ABSENT_AT_ONCE):
            batch = names[first : first + _ABSENT_AT_ONCE]
            if refused := self._fence({name: Version(None, ABSENT) for name in batch}, unique):
                self.fence(refused, unique, at_once=1)

    def _fence(self, versions: Mapping[str, Version], unique: Callable[[str, bytes | None], bytes]) -> list[str]:
        """Names of the objects that have changed since they were read."""
        # After they were read: a later run, whose conditions these puts could disturb, has not begun by then.
        self.require_held()
        objects = {name: unique(name, version.data) for name, version in versions.items()}
        conditions = {name: version.generation for name, version in versions.items()}
        written = write_if_equal(self.location, objects, conditions)
        self._note({name: generation for name, generation in written.items() if generation})
        return [name for name, generation in written.items() if not generation]

    def require_held(self) -> None:
        """Ask the server whether the run still holds its lease; where that is not known, do nothing.

        Raises:
            TakenOverError: another run has taken it.
        """
        if self.lease is not None and self.lease.is_held:
            try:
                self.lease.require_held()
            except TakenOverError as error:
                raise TakenOverError(f"{self.location}: another run has taken the store over: {error}") from None

    def require_not_lost(self) -> None:
        """Raise if the last renewal of the lease found that another run has taken it; asks no server.

        Raises:
            TakenOverError: another run has taken it.
        """
        if self.lease is not None and self.lease.lost:
            raise TakenOverError(f"another run has taken the store over: {self.lease.lost}")

    def share(self, comm: "MPI.Intracomm") -> None:
        """Collective: give every rank the generations that rank 0 knows."""
        self._generations = comm.bcast(self._generations)
        self._new = {}

    def take_new(self) -> dict[str, bytes]:
        """Generations of the objects that this rank has put since it last called this, or `share`, by name."""
        new, self._new = self._new, {}
        return new

    def add(self, generations: Mapping[str, bytes]) -> None:
        """Note what other ranks have put."""
        self._generations |= generations

    def knows(self, name: str) -> bool:
        """Whether this run has fenced or put an object."""
        return name in self._generations

    def _note(self, generations: Mapping[str, bytes]) -> None:
        self._generations |= generations
        self._new |= generations
