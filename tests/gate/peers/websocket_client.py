"""A WebSocket client that sends messages of every kind to an echo and looks at what comes back.

Arguments: URL, COOKIE, how many messages. Says `ok N` in the end.
"""

import asyncio
import random
import ssl
import sys

import websockets

SIZES = [0, 1, 125, 126, 127, 1000, 65535, 65536]


def message(number):
    size = SIZES[number % len(SIZES)] if number % 50 < 8 else number % 300
    if number % 2:
        return bytes(random.Random(number).randbytes(size))
    return ("%d ä€ " % number * size)[:size]


async def send(connection, count):
    for number in range(count):
        whole = message(number)
        if number % 7 == 0 and len(whole) > 3:
            third = len(whole) // 3
            await connection.send(iter([whole[:third], whole[third : 2 * third], whole[2 * third :]]))
        else:
            await connection.send(whole)
        if number % 100 == 0:
            await connection.ping()


async def receive(connection, count):
    for number in range(count):
        got = await connection.recv()
        assert got == message(number), f"message {number}: {len(got)} bytes"


async def run(url, cookie, count, compression):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    headers = {"Cookie": cookie} if cookie else {}
    async with websockets.connect(
        url,
        ssl=context if url.startswith("wss") else None,
        extra_headers=headers,
        compression=compression,
        max_size=None,
        subprotocols=["chat"],
    ) as connection:
        assert connection.subprotocol == "chat"
        names = [extension.name for extension in connection.extensions]
        assert names == (["permessage-deflate"] if compression else []), names
        await (await connection.ping())
        await asyncio.gather(send(connection, count), receive(connection, count))
        await connection.send("fragments")
        assert await connection.recv() == "one two three"
        large = random.Random(0).randbytes(5 << 20)
        await connection.send(large)
        assert await connection.recv() == large
    assert connection.close_code == 1000, connection.close_code


async def main():
    url, cookie, count = sys.argv[1:]
    count = int(count)
    await run(url, cookie, count // 2, "deflate")
    await run(url, cookie, count - count // 2, None)
    print("ok", count)


asyncio.run(asyncio.wait_for(main(), 300))
