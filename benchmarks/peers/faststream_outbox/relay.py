"""faststream-outbox's relay to Kafka, in its own environment: `relay.py DATABASE BROKER TOPIC`, until SIGTERM."""

import asyncio
import logging
import sys

from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaResponse
from faststream_outbox import OutboxBroker, make_outbox_table
from faststream_outbox.annotations import OutboxMessage
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import create_async_engine


async def undecoded(message: OutboxMessage) -> tuple[bytes, bytes]:
    """Return the body as it is, with its key."""
    return message.body, message.headers["key"].encode()


async def main(database: str, broker: str, topic: str) -> None:
    """Relay."""
    metadata = MetaData()
    table = make_outbox_table(metadata, table_name="outbox")
    engine = create_async_engine(database.replace("postgresql://", "postgresql+asyncpg://"), pool_size=20)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    kafka = KafkaBroker(broker, acks="all", enable_idempotence=True, logger=None)
    outbox = OutboxBroker(engine, outbox_table=table, apply_types=False, logger=None)

    async def relay(event: tuple[bytes, bytes]) -> KafkaResponse:
        body, key = event
        return KafkaResponse(body, key=key)

    subscriber = outbox.subscriber(
        "orders",
        max_workers=16,
        fetch_batch_size=1_000,
        terminal_flush_batch_size=500,
        min_fetch_interval=0.005,
        max_fetch_interval=0.01,
        decoder=undecoded,
    )
    kafka.publisher(topic)(subscriber(relay))
    await FastStream(outbox, on_startup=[kafka.connect]).run(log_level=logging.WARNING)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
