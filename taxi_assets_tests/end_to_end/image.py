"""The files of an image on a Docker engine, layer by layer."""

import io
import json
import posixpath
import subprocess
import tarfile
from collections.abc import Iterator
from typing import IO

_BLOCK = 512
"""The length of the header with which a tar archive starts."""


def files_of(image: str) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the content of each file of an image, as `files_in` does, while Docker writes them."""
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        yield from files_in(saving.stdout)
    assert saving.returncode == 0


def files_in(saved: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the content of each file of each layer of a saved image, and of its descriptions.

    Files that a later layer replaces or deletes are included. Raises AssertionError if a layer cannot be read.
    """
    layers, read = set[str](), set[str]()
    with tarfile.open(fileobj=saved, mode="r|") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            if file is None:
                # Older versions of Docker write a layer that equals another one as a link.
                read.add(member.name)
            elif _is_layer(file):
                read.add(member.name)
                yield from _files_of_layer(file)
            else:
                content = file.read()
                if member.name == "manifest.json":
                    layers = {layer for described in json.loads(content) for layer in described["Layers"]}
                yield member.name, content
    assert layers
    assert layers <= read


def _is_layer(file: IO[bytes]) -> bool:
    """Whether a file is a tar archive, which may be empty, or compressed with gzip."""
    assert isinstance(file, io.BufferedReader)
    start = file.peek(_BLOCK)[:_BLOCK]
    is_empty = len(start) == _BLOCK and not start.strip(b"\0")
    return is_empty or start.startswith(b"\x1f\x8b") or start[257:262] == b"ustar"


def _files_of_layer(file: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield the path and the content of each file of a layer."""
    with tarfile.open(fileobj=file, mode="r|*") as layer:
        for member in layer:
            if member.isreg() and (content := layer.extractfile(member)) is not None:
                # Some programs write paths that start with `./`.
                yield posixpath.normpath(member.name), content.read()
