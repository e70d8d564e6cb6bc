"""A network for containers on which nothing answers, and a witness that sees all that they say there: names asked for, and packets.

The witness is a container of its own on an internal Docker network; what is watched joins its network namespace (`Witness.arguments`). There
every name server is the witness, which answers that no name exists; and the default route leads to an address where nobody is, so that a
packet to any address is sent, seen and lost. Nothing leaves the machine, whatever the engine's firewall does. IPv6 is off, as it is on Docker's
networks unless asked for: of what would go that way, the name is seen.
"""

from __future__ import annotations

import ipaddress
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.cluster import until
from support.containers import docker

# Standard library only, for the Python of any of our images. Prints a line of JSON for each thing seen.
_PROGRAM = r"""
import fcntl, json, socket, struct, sys, threading

DEVICE, NOBODY, NOBODYS_MAC = "eth0", sys.argv[1], b"\x02\x00\x00\x00\x00\x01"
LOCK = threading.Lock()

def tell(**seen):
    with LOCK:
        print(json.dumps(seen), flush=True)

def address(ip):
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(ip))

def route():
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    hardware = struct.pack("=H14s", 1, NOBODYS_MAC)
    complete_and_permanent = 0x02 | 0x04
    arp = address(NOBODY) + hardware + struct.pack("=I16s16s", complete_and_permanent, b"", DEVICE.encode())
    fcntl.ioctl(control, 0x8955, arp)  # SIOCSARP
    up_by_gateway = 0x01 | 0x02
    # struct rtentry; the fields after the flags stay zero.
    entry = struct.pack("@L", 0) + address("0.0.0.0") + address(NOBODY) + address("0.0.0.0")
    fcntl.ioctl(control, 0x890B, struct.pack("@%dsH118x" % len(entry), entry, up_by_gateway))  # SIOCADDRT

def name_server():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    tell(ready="names")
    while True:
        query, client = server.recvfrom(4096)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
            at += 1 + query[at]
        tell(name=".".join(labels))
        no_such_name = 0x8183
        server.sendto(query[:2] + struct.pack("!HHHHH", no_such_name, 1, 0, 0, 0) + query[12 : at + 5], client)

def packets():
    capture = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    capture.bind((DEVICE, 3))
    tell(ready="packets")
    while True:
        data, (_, protocol, kind, *_) = capture.recvfrom(65535)
        if kind != socket.PACKET_OUTGOING:
            continue
        if protocol == 0x0800:
            header = 4 * (data[0] & 15)
            port = struct.unpack("!H", data[header + 2 : header + 4])[0] if data[9] in (6, 17) else None
            tell(packet=socket.inet_ntoa(data[16:20]), protocol=data[9], port=port)
        elif protocol == 0x86DD:
            tell(packet=socket.inet_ntop(socket.AF_INET6, data[24:40]), protocol=data[6], port=None)

route()
threads = [threading.Thread(target=work) for work in (name_server, packets)]
[thread.start() for thread in threads]
"""

#: What a program says that phones home: a name that does not exist, and a datagram to an address that nobody has (RFC 5737).
_CONTROL = """
import socket, sys
try:
    socket.getaddrinfo(sys.argv[1], 443)
    sys.exit("the name was found")
except socket.gaierror:
    pass
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"seen?", (sys.argv[2], int(sys.argv[3])))
"""
_CONTROL_ADDRESS, _CONTROL_PORT = "192.0.2.1", 4433


@dataclass(frozen=True, slots=True)
class Seen:
    """All that was said, in order: names without the questions' types, and addresses with ports where there are any."""

    names: tuple[str, ...]
    packets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Witness:
    """It watches."""

    container: str
    image: str
    resolv_conf: Path

    @property
    def arguments(self) -> Sequence[str]:
        """What `docker run` needs for a container to be watched."""
        return [f"--network=container:{self.container}", f"--volume={self.resolv_conf}:/etc/resolv.conf:ro"]

    def _lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in docker("logs", self.container).splitlines() if line.startswith("{")]

    def wait_ready(self) -> None:
        until(
            lambda: {"names", "packets"} <= {x.get("ready") for x in self._lines()} or None,
            "the witness watches",
            deadline_s=60,
            seen=lambda: docker("logs", self.container),
        )

    def seen(self) -> Seen:
        lines = self._lines()
        names = [str(x["name"]) for x in lines if "name" in x]
        packets = [f"{x['packet']}:{x['port']}" for x in lines if "packet" in x]
        return Seen(tuple(names), tuple(packets))

    def control(self) -> None:
        """Say something from a container that is watched as the others are, and wait until it is seen: after that, so is all before it."""
        name = f"control-{uuid.uuid4().hex[:8]}.invalid"
        before = len(self.seen().packets)
        arguments = [name, _CONTROL_ADDRESS, str(_CONTROL_PORT)]
        docker("run", "--rm", *self.arguments, "--entrypoint=python3", self.image, "-c", _CONTROL, *arguments)

        def look() -> bool | None:
            found = self.seen()
            return (name in found.names and f"{_CONTROL_ADDRESS}:{_CONTROL_PORT}" in found.packets[before:]) or None

        until(look, "the witness sees a name and a packet", deadline_s=30, seen=self.seen)

    def said_by_others(self) -> Seen:
        """Leave out what `control` said."""
        found = self.seen()
        return Seen(
            tuple(n for n in found.names if not n.startswith("control-")),
            tuple(p for p in found.packets if p != f"{_CONTROL_ADDRESS}:{_CONTROL_PORT}"),
        )


@contextmanager
def witness(image: str, folder: Path) -> Iterator[Witness]:
    """Make the network and the witness; `image` is any with python3, `folder` one for a file."""
    resolv_conf = folder / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\n")
    resolv_conf.chmod(0o644)
    name = f"clipmodel-witness-{uuid.uuid4().hex[:8]}"
    docker("network", "create", "--internal", name)
    try:
        [network] = json.loads(docker("network", "inspect", name))
        # The engine gives addresses from the first on.
        nobody = str(ipaddress.ip_network(network["IPAM"]["Config"][0]["Subnet"])[-2])
        docker(
            *["run", "--detach", f"--name={name}", f"--network={name}", "--user=0:0", "--cap-add=NET_ADMIN"],
            *[f"--volume={resolv_conf}:/etc/resolv.conf:ro", "--entrypoint=python3", image, "-c", _PROGRAM, nobody],
        )
        found = Witness(name, image, resolv_conf)
        found.wait_ready()
        yield found
    finally:
        docker("rm", "--force", "--volumes", name)
        docker("network", "rm", name)
