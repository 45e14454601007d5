#!/usr/bin/env python3
"""Golden frames, made from the tables of PROTOCOL.md alone: a second implementation of its clauses F, M and V that
shares nothing with the others. Reads the fields in messages.json, writes the bytes there and as examples into
PROTOCOL.md. With --check it changes nothing and exits 1 where they are not what the page says."""
import json
import re
import sys
import textwrap
import zlib
from pathlib import Path

here = Path(__file__).resolve().parent
page_path = here.parent / "PROTOCOL.md"
vectors_path = here / "messages.json"
page = page_path.read_text()

WIDTHS = {"u8": 1, "u16": 2, "i16": 2, "u32": 4, "u64": 8}


def rows(text):
    """Cells of the table rows of a text, the head and its rule left out."""
    lines = [line.strip() for line in text.split("\n") if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if not re.fullmatch(r"[- ]*", "".join(row))][1:] if cells else []


def section(heading):
    start = page.index(f"\n{heading}\n") + len(heading) + 2
    end = re.search(r"^#", page[start:], re.M)
    return page[start : start + end.start() if end else None]


def messages():
    """Code and fields of every message: {name: (code, request fields, response fields)}."""
    found = {}
    for code, name in re.findall(r"^### (0x[0-9a-f]{2}) (\S+)$", page, re.M):
        before, _, after = section(f"### {code} {name}").partition("Response:")
        fields = lambda text: [(row[0], row[1]) for row in rows(text)]
        found[name] = (int(code, 16), fields(before), fields(after))
    return found


REPLIES = {row[0]: int(row[1]) for row in rows(section("### Reply codes"))}
MESSAGES = messages()


def field(kind, value):
    if kind in WIDTHS:
        return value.to_bytes(WIDTHS[kind], "little", signed=kind[0] == "i")
    raw = bytes.fromhex(value) if kind == "bytes" else value.encode()
    return len(raw).to_bytes(2, "little") + raw


def parts_of(vector):
    """The message of a vector, cut where its fields begin."""
    name = re.sub(r"([A-Z])", lambda m: "-" + m[1].lower(), vector["of"])
    if name not in MESSAGES:
        name = vector["of"]
    code, request, response = MESSAGES[name]
    kind, values = vector["kind"], vector["fields"]
    parts = [bytes([code | (0x80 if kind in ("response", "refusal") else 0)])]
    parts.append(vector["id"].to_bytes(4, "little"))
    if kind == "refusal":
        return parts + [bytes([REPLIES[vector["reply"]]]), field("text", values["reason"])]
    if kind == "response":
        parts.append(bytes([REPLIES["ok"]]))
    layout = response if kind == "response" else request
    if [name for name, _ in layout] != list(values):
        sys.exit(f"{vector['name']}: has {list(values)}, the page has {[n for n, _ in layout]}")
    return parts + [field(kind, values[name]) for name, kind in layout]


def stuffed(data):
    """COBS by its definition: cut at the zeros, each piece behind its length plus one, 254 at most."""
    out = bytearray()
    pieces = data.split(b"\0")
    for index, piece in enumerate(pieces):
        while len(piece) > 254:
            out += b"\xff" + piece[:254]
            piece = piece[254:]
        is_last = index == len(pieces) - 1
        if len(piece) == 254:
            # A full run stands for no zero; one that follows it needs an empty run, but not at the end.
            out += b"\xff" + piece + (b"" if is_last else b"\x01")
        else:
            out += bytes([len(piece) + 1]) + piece
    return bytes(out)


def frame_of(message):
    return stuffed(message + zlib.crc32(message).to_bytes(4, "little")) + b"\0"


def examples(vectors):
    """Every vector as text: fields, the message cut into them, the frame."""
    out = []
    for vector in vectors:
        values = ", ".join(f"{name} {value!r}" for name, value in vector["fields"].items())
        title = f"{vector['name']} ({vector['kind']}, id {vector['id']})"
        lines = [title + (f": {values}" if values else "")]
        text = "\n".join(textwrap.wrap(lines[0], 116, subsequent_indent="  ")).replace("'", "")
        message = " ".join(part.hex() for part in parts_of(vector) if part)
        wrapped = textwrap.wrap(message, 108, initial_indent="  message  ", subsequent_indent=" " * 11)
        frame = textwrap.wrap(vector["frame"], 104)
        shown = "\n".join(("  frame    " if i == 0 else " " * 11) + line for i, line in enumerate(frame))
        out.append("\n".join([text, *wrapped, shown]))
    return "\n\n".join(out)


HEADING = "## Every message, byte by byte"


def main():
    vectors = json.loads(vectors_path.read_text())
    for vector in vectors:
        message = b"".join(parts_of(vector))
        vector["message"] = message.hex()
        vector["frame"] = frame_of(message).hex()
    body = page.split(f"\n{HEADING}\n")[0].rstrip("\n")
    intro = "Made by `vectors/make.py`. A message is cut where its fields begin: code, id, then in responses the\nreply code, then the fields in the order of the tables."
    text = f"{body}\n\n{HEADING}\n\n{intro}\n\n```\n{examples(vectors)}\n```\n"
    for frame in json.loads((here / "frames.json").read_text()):
        if frame_of(bytes.fromhex(frame["message"])).hex() != frame["frame"]:
            sys.exit(f"frames.json: {frame['name']} is not what clause F says")
    if "--check" in sys.argv:
        wrong = json.loads(vectors_path.read_text()) != vectors or page != text
        sys.exit("run vectors/make.py: frames or examples are not what PROTOCOL.md says" if wrong else 0)
    vectors_path.write_text(json.dumps(vectors, indent=2, ensure_ascii=False) + "\n")
    page_path.write_text(text)


main()
