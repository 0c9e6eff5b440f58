"""A gRPC client over TLS. Arguments: port, the file of whom to trust, what to do, and more for that.
In the environment: TOKEN to send as a bearer token, COOKIE to send as one, CERTIFICATE with a key to
show. Prints what comes, a line each, and at last `status` with the code and the details."""

import os
import queue
import signal
import sys
import time

import grpc

port, trusted, what, *more = sys.argv[1:]


def say(*words):
    print(*words, flush=True)


def read(name):
    with open(name, "rb") as file:
        return file.read()


shown = os.environ.get("CERTIFICATE")
shown = read(shown) if shown else None
credentials = grpc.ssl_channel_credentials(read(trusted), shown, shown)
channel = grpc.secure_channel(
    f"localhost:{port}", credentials, options=[("grpc.max_receive_message_length", -1)]
)
sent = [("x-asked", "yes")]
if "TOKEN" in os.environ:
    sent.append(("authorization", "Bearer " + os.environ["TOKEN"]))
if "COOKIE" in os.environ:
    sent.append(("cookie", os.environ["COOKIE"]))
service = os.environ.get("SERVICE", "echo.Echo")


def unary(method, request, **how):
    response, call = channel.unary_unary(f"/{service}/{method}").with_call(
        request, metadata=sent, **how
    )
    return response, call


def pairs(metadata):
    return " ".join(sorted(f"{name}={value!r}" for name, value in metadata or ()))


def do_unary():
    response, call = unary("Unary", more[0].encode())
    say("message", response.decode())
    return call


def do_metadata():
    response, call = unary("Metadata", b"", timeout=50)
    for line in response.decode().splitlines():
        say("seen", line)
    say("initial", pairs(call.initial_metadata()))
    say("trailing", pairs(call.trailing_metadata()))
    return call


def do_fail():
    return unary("Fail", b"")[1]


def do_deadline():
    return unary("Sleep", b"", timeout=1)[1]


def do_cancel():
    call = channel.unary_unary(f"/{service}/Sleep").future(b"", metadata=sent)
    input()
    call.cancel()
    return call


def do_large():
    size = int(more[0])
    response, call = unary("Large", b"%d" % size)
    say("large", len(response))
    response, call = channel.stream_unary(f"/{service}/ClientStream").with_call(
        iter([b"y" * size]), metadata=sent
    )
    say("large", response.decode())
    return call


def do_client_stream():
    count = int(more[0])
    messages = (b"%d" % number for number in range(count))
    response, call = channel.stream_unary(f"/{service}/ClientStream").with_call(
        messages, metadata=sent
    )
    say("message", response.decode())
    return call


def do_server_stream():
    count = int(more[0])
    call = channel.unary_stream(f"/{service}/ServerStream")(b"%d" % count, metadata=sent)
    got = [int(message) for message in call]
    say("message", got == list(range(count)))
    return call


def do_slow_reader():
    call = channel.unary_stream(f"/{service}/ServerStream")(b"20000", metadata=sent)
    got = []
    for message in call:
        got.append(int(message))
        if len(got) % 4000 == 0:
            time.sleep(0.2)
    say("message", got == list(range(20000)))
    return call


def do_bidi():
    """Each message is sent when the one before has come back."""
    count = int(more[0])
    outgoing = queue.Queue()
    call = channel.stream_stream(f"/{service}/Bidi")(iter(outgoing.get, None), metadata=sent)
    for number in range(count):
        outgoing.put(b"%d" % number)
        assert next(call) == b"%d" % number
    outgoing.put(None)
    say("message", list(call) == [])
    return call


def do_wait():
    """A conversation in which nobody says much: what comes is printed. SIGUSR1 makes it say something."""
    outgoing = queue.SimpleQueue()
    signal.signal(signal.SIGUSR1, lambda *_: outgoing.put(b"still here"))
    call = channel.stream_stream(f"/{service}/Wait")(iter(outgoing.get, None), metadata=sent)
    for message in call:
        say("message", message.decode())
    return call


def do_late():
    """The same, but after so many seconds something is said."""
    outgoing = queue.Queue()
    call = channel.stream_stream(f"/{service}/Wait")(iter(outgoing.get, None), metadata=sent)
    say("message", next(call).decode())
    time.sleep(float(more[0]))
    outgoing.put(b"late")
    say("message", next(call).decode())
    outgoing.put(None)
    say("ended", list(call) == [])
    return call


try:
    call = globals()["do_" + what]()
except grpc.RpcError as error:
    call = error
details = call.details()
details = details.decode() if isinstance(details, bytes) else details
if what == "fail":
    say("trailing", pairs(call.trailing_metadata()))
say("status", call.code().value[0], details)
