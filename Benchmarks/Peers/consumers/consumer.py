#!/usr/bin/env python3
"""The daemon's job as a Python program would do it, to be measured beside it.

usage: consumer.py insert|copy   (settings in the environment: ARI_URL, ARI_USER, ARI_PASSWORD, DATABASE_URL)

Reads ARI events over a WebSocket, keeps a call for each linkedid (first seen, first Up, last channel gone) and writes both tables,
which must be there.

  insert   the old daemon's pattern: one event, one INSERT, one commit, awaited before the next event is looked at
  copy     what a careful programmer would write: what came while the last batch was written is the next batch, one transaction each,
           events by binary COPY, changed calls by one upsert; orjson, websockets, asyncpg
"""
import asyncio
import base64
import os
import sys
import urllib.parse
import urllib.request
import uuid
from datetime import datetime, timezone

import asyncpg
import orjson
import websockets

APP = "callflow_elixir"
EVENT_COLUMNS = ["call_id", "event_type", "payload", "occurred_at", "inserted_at", "updated_at"]
UPSERT = """
    INSERT INTO calls (id, call_id, status, started_at, answered_at, ended_at, inserted_at, updated_at)
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamp[], $5::timestamp[], $6::timestamp[],
                         $7::timestamp[], $8::timestamp[])
    ON CONFLICT (call_id) DO UPDATE SET status = excluded.status, answered_at = excluded.answered_at,
        ended_at = excluded.ended_at, updated_at = excluded.updated_at
"""


class Call:
    """One conversation: what the row of `calls` says."""

    __slots__ = ("id", "call_id", "started_at", "answered_at", "ended_at", "channels")

    def __init__(self, call_id, started_at):
        self.id = uuid.uuid4()
        self.call_id = call_id
        self.started_at = started_at
        self.answered_at = None
        self.ended_at = None
        self.channels = set()

    def row(self, now):
        status = "finished" if self.ended_at else "answered" if self.answered_at else "ringing"
        return (self.id, self.call_id, status, self.started_at, self.answered_at, self.ended_at, now, now)


class Calls:
    """Calls that live, by linkedid, and what an event changes of them."""

    def __init__(self):
        self.by_id = {}

    def take(self, text, now):
        """Moves the call that an event belongs to; gives the event's row and the call."""
        event = orjson.loads(text)
        kind = event["type"]
        channel = event.get("channel") or event.get("peer") or {}
        channel_id = channel.get("id", "unknown")
        call_id = (channel.get("channelvars") or {}).get("CHANNEL(linkedid)") or channel_id
        stamp = event.get("timestamp")
        at = datetime.fromisoformat(stamp).astimezone(timezone.utc).replace(tzinfo=None) if stamp else now
        call = self.by_id.get(call_id)
        if call is None:
            call = self.by_id[call_id] = Call(call_id, at)
        if kind == "ChannelDestroyed":
            call.channels.discard(channel_id)
            if not call.channels:
                call.ended_at = at
                del self.by_id[call_id]
        else:
            call.channels.add(channel_id)
            if call.answered_at is None and channel.get("state") == "Up":
                call.answered_at = at
        return (call_id, kind, text, at, now, now), call


def utc_now():
    return datetime.now(timezone.utc).replace(tzinfo=None)


async def insert_each(stream, connection):
    calls = Calls()
    event_sql = "INSERT INTO call_events (%s) VALUES ($1, $2, $3, $4, $5, $6)" % ", ".join(EVENT_COLUMNS)
    async for message in stream:
        row, call = calls.take(message, utc_now())
        await connection.execute(event_sql, *row)
        await connection.execute(UPSERT, *([value] for value in call.row(row[4])))


async def copy_batches(stream, connection):
    calls = Calls()
    rows = []
    changed = {}
    arrived = asyncio.Event()

    async def write():
        while True:
            await arrived.wait()
            arrived.clear()
            batch, rows[:] = rows[:], []
            touched = list(changed.values())
            changed.clear()
            if not batch:
                continue
            async with connection.transaction():
                await connection.copy_records_to_table("call_events", records=batch, columns=EVENT_COLUMNS)
                now = batch[-1][4]
                await connection.execute(UPSERT, *(list(column) for column in zip(*(c.row(now) for c in touched))))

    writer = asyncio.create_task(write())
    async for message in stream:
        row, call = calls.take(message, utc_now())
        rows.append(row)
        changed[call.call_id] = call
        arrived.set()
    writer.cancel()


async def main(mode):
    url = urllib.parse.urlsplit(os.environ["ARI_URL"])
    user, password = os.environ["ARI_USER"], os.environ["ARI_PASSWORD"]
    secret = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": f"Basic {secret}"}
    connection = await asyncpg.connect(os.environ["DATABASE_URL"])
    if mode == "copy":
        # jsonb in binary is a version and the text.
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", format="binary", encoder=lambda text: b"\x01" + text, decoder=bytes)
    else:
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=bytes.decode, decoder=str)
    async with websockets.connect(
        f"{url.scheme}://{url.netloc}/ari/events?app={APP}", additional_headers=headers, compression=None,
        max_size=1 << 24, max_queue=4096, ping_interval=None,
    ) as stream:
        request = urllib.request.Request(
            f"http://{url.netloc}/ari/applications/{APP}/subscription?eventSource=channel:,bridge:",
            method="POST", headers=headers)
        await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=10).read())
        print("subscribed", flush=True)
        messages = bytes_of(stream)
        await (insert_each if mode == "insert" else copy_batches)(messages, connection)


async def bytes_of(stream):
    """Text messages as the bytes they came in."""
    while True:
        try:
            yield await stream.recv(decode=False)
        except websockets.ConnectionClosed:
            return


if __name__ == "__main__":
    if sys.argv[1:] not in (["insert"], ["copy"]):
        sys.exit(__doc__)
    try:
        asyncio.run(main(sys.argv[1]))
    except KeyboardInterrupt:
        pass
