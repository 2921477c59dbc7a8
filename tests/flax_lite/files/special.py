"""What may lie under a file's name in somebody's directory, and is no file to read."""

import os
import socket
import tempfile
from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 438000000\n"


def a_socket(path):
    # A socket's name may have 107 bytes, and a test's directory more.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        os.link(f"{short}/s", path)


# What lies under the name, how it gets there, and what is said of it by all readers.
SPECIAL = {
    "zeros without end": (lambda path: path.symlink_to("/dev/zero"), "is a device, expected a file"),
    "noise without end": (lambda path: path.symlink_to("/dev/urandom"), "is a device"),
    "a terminal": (lambda path: path.symlink_to("/dev/tty"), "is a device"),
    "a pipe": (os.mkfifo, "is a pipe, expected a file"),
    "a link to a pipe": (lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")), "is a pipe"),
    "a socket": (a_socket, "is a socket"),
    "a directory": (Path.mkdir, "is a directory, expected a file"),
    "a circle": (lambda path: path.symlink_to(path.name), "is a link that leads in a circle"),
    "a larger circle": (
        lambda path: (path.symlink_to("b"), path.with_name("b").symlink_to(path.name)),
        "leads in a circle",
    ),
    "a link to nothing": (lambda path: path.symlink_to("absent"), "is a link to absent, where nothing is"),
    "a pointer of git-lfs": (lambda path: path.write_bytes(POINTER), "is a git-lfs pointer.*git lfs pull"),
    "a process's memory": (lambda path: path.symlink_to("/proc/self/mem"), "out of its directory|cannot be read"),
}
