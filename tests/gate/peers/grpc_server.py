"""A gRPC server that nobody wrote a .proto for: messages are bytes. Prints its port, then what it
notices, a line each. Arguments: none, or the certificate and the key to speak TLS with."""

import sys
import threading
from concurrent import futures

import grpc


def say(*words):
    print(*words, flush=True)


def unary(request, context):
    return b"got " + request


def metadata(request, context):
    seen = sorted(f"{name}={value}" for name, value in context.invocation_metadata())
    context.send_initial_metadata((("x-initial", "first"),))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-data-bin", b"\x00\xff")))
    return "\n".join(seen).encode()


def large(request, context):
    return b"x" * int(request)


def fail(request, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no ä, 100 %")


def sleep(request, context):
    say("deadline", context.time_remaining() is not None)
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)
    say("sleep ended")
    return b""


def client_stream(requests, context):
    count = size = 0
    for request in requests:
        count += 1
        size += len(request)
    return f"{count} {size}".encode()


def server_stream(request, context):
    for number in range(int(request)):
        yield b"%d" % number


def bidi(requests, context):
    for request in requests:
        yield request


def wait(requests, context):
    """Says one thing, and then nothing until the other side has had enough."""
    context.add_callback(lambda: say("wait ended"))
    say("wait began")
    yield b"waiting"
    for request in requests:
        say("wait got", request.decode())
        yield b"heard " + request


UNARY = {"Unary": unary, "Metadata": metadata, "Fail": fail, "Sleep": sleep, "Large": large}


class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        method = details.method.rpartition("/")[2]
        if method in UNARY:
            return grpc.unary_unary_rpc_method_handler(UNARY[method])
        if method == "ClientStream":
            return grpc.stream_unary_rpc_method_handler(client_stream)
        if method == "ServerStream":
            return grpc.unary_stream_rpc_method_handler(server_stream)
        if method == "Bidi":
            return grpc.stream_stream_rpc_method_handler(bidi)
        if method == "Wait":
            return grpc.stream_stream_rpc_method_handler(wait)
        return None


server = grpc.server(
    futures.ThreadPoolExecutor(32), options=[("grpc.max_receive_message_length", -1)]
)
server.add_generic_rpc_handlers((Handlers(),))
if len(sys.argv) > 1:
    with open(sys.argv[1], "rb") as certificate, open(sys.argv[2], "rb") as key:
        pair = (key.read(), certificate.read())
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials((pair,)))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
say(port)
server.wait_for_termination()
