"""A WebSocket server that sends everything back, made with Debian's python3-websockets.

Arguments: `tcp`, `tls CERTIFICATE KEY` or `unix PATH`. Says `port N` when it listens, and for each
connection `open PATH USER` and `closed CODE`.
"""

import asyncio
import ssl
import sys

import websockets


def say(*words):
    print(*words, flush=True)


async def echo(connection):
    say("open", connection.path, connection.request_headers.get("X-Forwarded-User", "-"))
    try:
        async for message in connection:
            if message == "fragments":
                await connection.send(iter(["one ", "two ", "three"]))
            else:
                await connection.send(message)
    except websockets.ConnectionClosed:
        pass
    say("closed", connection.close_code)


async def main():
    settings = {"max_size": None, "ping_interval": None, "subprotocols": ["chat"]}
    kind, *more = sys.argv[1:]
    if kind == "unix":
        server = await websockets.unix_serve(echo, more[0], **settings)
        say("port 0")
    else:
        context = None
        if kind == "tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*more)
        server = await websockets.serve(echo, "127.0.0.1", 0, ssl=context, **settings)
        say("port", server.sockets[0].getsockname()[1])
    await server.wait_closed()


asyncio.run(main())
