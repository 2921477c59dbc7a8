"""Special files that may have the name of a file in an untrusted directory."""

import os
import socket
import tempfile
from pathlib import Path

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 438000000\n"


def a_socket(path):
    # The path of a socket has at most 107 bytes, and tmp_path may be longer.
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        os.link(f"{short}/s", path)


# How each special file is made, and the error of every reader.
SPECIAL = {
    "endless zeros": (lambda path: path.symlink_to("/dev/zero"), "is a device, expected a file"),
    "endless noise": (lambda path: path.symlink_to("/dev/urandom"), "is a device"),
    "a terminal": (lambda path: path.symlink_to("/dev/tty"), "is a device"),
    "a pipe": (os.mkfifo, "is a pipe, expected a file"),
    "a link to a pipe": (lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")), "is a pipe"),
    "a socket": (a_socket, "is a socket"),
    "a directory": (Path.mkdir, "is a directory, expected a file"),
    "a circular link": (lambda path: path.symlink_to(path.name), "is a circular link"),
    "two circular links": (
        lambda path: (path.symlink_to("b"), path.with_name("b").symlink_to(path.name)),
        "is a circular link",
    ),
    "a broken link": (lambda path: path.symlink_to("absent"), "is a broken link to absent"),
    "a git-lfs pointer": (lambda path: path.write_bytes(POINTER), "is a git-lfs pointer.*git lfs pull"),
    "a process's memory": (lambda path: path.symlink_to("/proc/self/mem"), "out of its directory|cannot be read"),
}
