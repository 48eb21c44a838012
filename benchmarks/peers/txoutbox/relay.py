"""txoutbox's relay, in its own environment: `relay.py DATABASE BROKER TOPIC`, until SIGTERM."""

import asyncio
import sys

from aiokafka import AIOKafkaProducer
from txoutbox import OutboxMessage, Relay, RelayConfig
from txoutbox.adapters.postgres import PostgresStorage

_BATCH = 200


async def main(database: str, broker: str, topic: str) -> None:
    """Relay."""
    storage = await PostgresStorage.connect(
        database, min_size=2, max_size=4, delete_on_ack=True, notify_channel="outbox"
    )
    await storage.create_schema()
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all", enable_idempotence=True, max_batch_size=131_072)
    await producer.start()

    async def publish(message: OutboxMessage) -> None:
        await producer.send_and_wait(topic, message.payload, key=str(message.key).encode())

    relay = Relay(storage, publish, config=RelayConfig(batch_size=_BATCH, concurrency=_BATCH))
    listener = await storage.listen(relay.wake)
    await relay.run(handle_signals=True)
    await listener.close()
    await producer.stop()
    await storage.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
