#!/usr/bin/env python
"""Record the terminal session of the README as an animated picture, `docs/images/session.svg`. Run by `make recording`.

The commands run for real, in a pseudoterminal. A terminal emulator (pyte) turns their output into frames. The picture
shows each frame for as long as it was on the screen, except that pauses are shortened. Readers who prefer reduced
motion see the last frame.
"""

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, groupby
from pathlib import Path

import pyte
from pyte.screens import Char

PICTURE = Path(__file__).parent / "images" / "session.svg"
TAXI = Path(sys.executable).with_name("taxi")
# The picture shows this path, so it is the same on every machine.
HOME = Path("/tmp/taxi_demo")  # noqa: S108

SESSION = (
    "taxi demo",
    "taxi status",
    'taxi query "SELECT file_month, round(avg(tip_amount), 2) AS tip FROM yellow_taxi_trips GROUP BY 1 ORDER BY 1"',
)
PROMPT = "\x1b[32m$\x1b[0m "
COLUMNS, ROWS = 112, 28

TOTAL_S = 20
"""How long the picture plays before it starts again."""

TYPING_S, READING_S, LONGEST_PAUSE_S, SHORTEST_S = 0.04, 2.5, 0.8, 0.1
"""The times for a letter and after a command, the longest pause in its output, and the shortest time of a frame."""

CHAR_WIDTH, LINE_HEIGHT, FONT_SIZE, MARGIN = 8, 17, 13, 12
FOREGROUND, BACKGROUND = "#d4d4d4", "#1e1e1e"
COLORS = {
    "black": "#767676",
    "red": "#f14c4c",
    "green": "#3fb950",
    "brown": "#d7ba7d",
    "blue": "#569cd6",
    "magenta": "#c586c0",
    "cyan": "#56b6c2",
    "white": "#ffffff",
}

Style = tuple[str, bool]
"""A color, and whether the text is bold."""

Row = tuple[tuple[int, str, Style], ...]
"""The texts of a row with their columns. Spaces around texts are left out."""


@dataclass(frozen=True)
class Frame:
    """The rows of the screen, and how long they were on it."""

    rows: tuple[Row, ...]
    seconds: float


def main() -> None:
    """Run the session, write the picture, then stop and delete everything."""
    if HOME.exists():
        sys.exit(f"{HOME} exists. The recording needs a new TAXI_HOME. Delete the folder and run the script again.")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TAXI_", "DAGSTER_"))}
    environment |= {"TAXI_HOME": str(HOME), "TERM": "xterm-256color", "PATH": f"{TAXI.parent}:{os.environ['PATH']}"}
    environment.pop("NO_COLOR", None)
    try:
        frames = merged(list(record(environment)))
    finally:
        subprocess.run([TAXI, "stop"], env=environment, check=False, stdout=subprocess.DEVNULL)  # noqa: S603
        shutil.rmtree(HOME, ignore_errors=True)
    PICTURE.write_text(drawn(frames), encoding="utf-8")
    print(f"{PICTURE} {PICTURE.stat().st_size:,} bytes, {len(frames)} frames")  # noqa: T201


def record(environment: dict[str, str]) -> Iterator[Frame]:
    """Type and run each command, and yield a frame for each piece of output. Exit if a command fails."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    for command in SESSION:
        stream.feed(PROMPT.encode())
        yield Frame(rows_of(screen), 0.5)
        for letters in (command[at : at + 3] for at in range(0, len(command), 3)):
            stream.feed(letters.encode())
            yield Frame(rows_of(screen), TYPING_S * len(letters))
        stream.feed(b"\r\n")
        for output, pause in outputs(command, environment):
            yield Frame(rows_of(screen), min(pause, LONGEST_PAUSE_S))
            stream.feed(output)
        yield Frame(rows_of(screen), READING_S)


def outputs(command: str, environment: dict[str, str]) -> Iterator[tuple[bytes, float]]:
    """Run a command in a pseudoterminal, and yield each piece of its output with the seconds before it."""
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    running = subprocess.Popen(  # noqa: S602  # the commands above
        command, shell=True, env=environment, cwd=HOME.parent, stdin=inside, stdout=inside, stderr=inside
    )
    os.close(inside)
    last = time.monotonic()
    while output := read(terminal):
        now = time.monotonic()
        yield output, now - last
        last = now
    os.close(terminal)
    if running.wait():
        sys.exit(f"The command failed: {command}")


def read(terminal: int) -> bytes:
    """Output of the terminal; empty at its end, which Linux reports as an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


def rows_of(screen: pyte.Screen) -> tuple[Row, ...]:
    """The rows of the screen."""
    return tuple(row_of([screen.buffer[y][x] for x in range(COLUMNS)]) for y in range(ROWS))


def row_of(characters: Sequence[Char]) -> Row:
    """The texts of a row."""
    texts = []
    for style, group in groupby(enumerate(characters), key=lambda item: style_of(item[1])):
        places = list(group)
        text = "".join(character.data for _, character in places)
        if stripped := text.strip():
            texts.append((places[0][0] + len(text) - len(text.lstrip()), stripped, style))
    return tuple(texts)


def style_of(character: Char) -> Style:
    """The color of a character, and whether it is bold."""
    name = character.fg.removeprefix("bright")
    other = FOREGROUND if name == "default" else f"#{name}"
    return COLORS.get(name, other), character.bold


def merged(frames: Sequence[Frame]) -> list[Frame]:
    """The frames in `TOTAL_S` seconds, without repetitions and without those that are too short to see."""
    scale = TOTAL_S / sum(frame.seconds for frame in frames)
    kept: list[Frame] = []
    for frame in frames:
        seconds = frame.seconds * scale
        if kept and (kept[-1].rows == frame.rows or kept[-1].seconds < SHORTEST_S):
            kept[-1] = Frame(frame.rows, kept[-1].seconds + seconds)
        else:
            kept.append(Frame(frame.rows, seconds))
    return kept


def drawn(frames: Sequence[Frame]) -> str:
    """The picture: all frames side by side, of which an animation shows one after another.

    Each row is defined once, because most rows are the same in many frames.
    """
    width, height = COLUMNS * CHAR_WIDTH + 2 * MARGIN, ROWS * LINE_HEIGHT + 2 * MARGIN
    rows = {row: f"r{number}" for number, row in enumerate(dict.fromkeys(row for f in frames for row in f.rows if row))}
    starts = accumulate((frame.seconds for frame in frames[:-1]), initial=0.0)
    moves = "".join(
        f"{100 * start / TOTAL_S:.2f}%{{transform:translateX({-width * at}px)}}" for at, start in enumerate(starts)
    )
    strip = "".join(
        f'<g transform="translate({width * at})">'
        + "".join(f'<use href="#{rows[row]}" y="{LINE_HEIGHT * y}"/>' for y, row in enumerate(frame.rows) if row)
        + "</g>\n"
        for at, frame in enumerate(frames)
    )
    defined = "".join(f'<g id="{name}">{"".join(map(drawn_text, row))}</g>\n' for row, name in rows.items())
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<title>A terminal session: {escape("; ".join(SESSION))}</title>
<style>
text{{font:{FONT_SIZE}px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:{FOREGROUND};white-space:pre}}
.b{{font-weight:bold}}
#strip{{transform:translateX({-width * (len(frames) - 1)}px)}}
@keyframes play{{{moves}}}
@media (prefers-reduced-motion:no-preference){{#strip{{animation:play {TOTAL_S}s step-end infinite}}}}
</style>
<defs>
{defined}</defs>
<rect width="100%" height="100%" rx="6" fill="{BACKGROUND}"/>
<g id="strip">
{strip}</g>
</svg>
"""


def drawn_text(placed: tuple[int, str, Style]) -> str:
    """A text of a row, as wide as its number of characters in any font."""
    column, text, (color, bold) = placed
    looks = (' class="b"' if bold else "") + (f' style="fill:{color}"' if color != FOREGROUND else "")
    x, length = MARGIN + CHAR_WIDTH * column, CHAR_WIDTH * len(text)
    return f'<text x="{x}" y="{MARGIN + FONT_SIZE}" textLength="{length}"{looks}>{escape(text)}</text>'


if __name__ == "__main__":
    main()
