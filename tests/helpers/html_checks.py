"""What a page must not do: load anything, or name a folder of the machine that made it."""

from __future__ import annotations

import re
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

from vaerecon.lab.listening.player import player_script

# attributes from which a browser loads; an anchor's href is followed only on a click
LOADING = {"src", "srcset", "poster", "data", "background", "xlink:href", "ping"}


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = self.in_script = False

    def handle_starttag(self, tag, attrs):
        self.in_style = tag == "style"
        self.in_script = tag == "script" and attrs == [("type", "module")]
        if tag in ("link", "iframe", "object", "embed", "base", "frame"):
            self.found.append(f"<{tag} {attrs}>"[:200])
        if tag == "script" and not self.in_script:
            self.found.append(f"<{tag} {attrs}>"[:200])
        if tag == "meta" and ("http-equiv", "refresh") in attrs:
            self.found.append(f"<meta {attrs}>")
        for name, value in attrs:
            value = value or ""
            if name in LOADING and not value.startswith("data:"):
                self.found.append(f"<{tag} {name}={value[:100]}>")
            if tag in ("image", "use", "feimage") and name == "href" and value[:1] != "#":
                self.found.append(f"<{tag} href={value[:100]}>")
            if name == "style":
                self.check_style(value)
            if name.startswith("on"):
                self.found.append(f"<{tag} {name}>")

    def handle_endtag(self, tag):
        self.in_style = self.in_script = False

    def handle_data(self, data):
        if self.in_style:
            self.check_style(data)
        if self.in_script and data != player_script():
            self.found.append(f"<script>{data[:200]}")

    def check_style(self, text):
        if "@import" in text.lower():
            self.found.append("@import")
        for url in re.findall(r"url\(\s*['\"]?([^'\")]*)", text):
            if not url.startswith(("data:", "#")):
                self.found.append(f"url({url[:100]})")


def loads_from_elsewhere(page: str) -> list[str]:
    """Everything in a page that would load something, or run and is not the player's script."""
    parser = _Loads()
    parser.feed(page)
    parser.close()
    return parser.found


def machine_paths(text: str, *folders: Path) -> list[str]:
    """Folders of this machine that a text names."""
    known = {Path.home(), Path.cwd(), Path(sys.prefix), Path(sys.base_prefix), *folders}
    known.add(Path(tempfile.gettempdir()))
    found = []
    for folder in known:
        if len(folder.parts) < 2:  # the root itself
            continue
        for spelling in {str(folder), str(folder.resolve()), str(folder).replace("\\", "\\\\")}:
            # "/tmp/" is four letters of base64, so that a sound can hold it by chance
            hit = re.search(rf"(?<![A-Za-z0-9+/=]){re.escape(spelling)}(?![\w-])", text)
            if hit:
                found.append(text[max(0, hit.start() - 60) : hit.end() + 60])
    return found
