"""Hashes and checks passwords with argon2id, in threads, a few at a time: each costs 46 MiB and some 50 ms."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import Type

AT_ONCE = 3


class Passwords:
    """One per process; bounds how many hashes run at the same time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=1, memory_cost=47_104, parallelism=1, type=Type.ID)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """The text to store."""
        async with self._turns:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def is_right(self, stored: str, password: str) -> bool:
        """Whether `password` is the one of `stored`; an empty `stored` takes as long and is never right."""
        if not stored and not self._nobody:
            self._nobody = await self.hash("nobody's password")
        async with self._turns:
            return await asyncio.to_thread(self._verify, stored or self._nobody, password) and bool(stored)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False
