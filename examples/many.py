"""A thousand schedules at once, in asyncio: each is awaited, and they travel together.

python examples/many.py          # the first lines of examples/reminder.py start the rest
"""

from __future__ import annotations

import asyncio

from kms.client import AsyncScheduleClient


async def main() -> None:
    async with AsyncScheduleClient("schedules") as schedules:
        ids = await asyncio.gather(
            *(
                schedules.after(1, to="greetings", key=str(number), value=f"hello {number}")
                for number in range(1_000)
            )
        )
        print(f"{len(ids)} are written, the first as {ids[0]}")


asyncio.run(main())
