"""What a client fetches of its own accord when it shows a text, and all ways to make it."""

from __future__ import annotations

from html.parser import HTMLParser

from markdown_it import MarkdownIt

_ELEMENTS = frozenset(["script", "style", "link", "base", "use", "image", "svg"])
_ATTRIBUTES = frozenset(
    [
        "src",
        "srcset",
        "imagesrcset",
        "poster",
        "background",
        "style",
        "data",
        "xlink:href",
        "fill",
        "http-equiv",
    ]
)


def fetched_by(text: str) -> list[str]:
    """The elements that fetch, for whoever shows it as Markdown with HTML in it, or as HTML alone; by parsers of both."""
    found: list[str] = []
    for shown in (MarkdownIt("commonmark").render(text), text):
        reader = _Reader()
        reader.feed(shown)
        reader.close()
        found += reader.found
    return found


def pictures(url: str) -> list[str]:
    """Some are none before a citation that is none has been taken out of them."""
    return [
        f"![tide]({url})",
        f"!![tide]({url})",
        f"!!![tide]({url})",
        f"!^9^[tide]({url})",
        f"! ^9^[tide]({url})",
        f"![tide][t]\n\n[t]: {url}\n",
        f"[![tide]({url})]({url})",
        f"![]( <{url}> )",
        f"<img src='{url}'>",
        f"<IMG/SRC={url}>",
        f"<im^9^g src='{url}'>",
        f"<^9^img src='{url}'>",
        f"<img\nalt='x'\nsrc='{url}'\n>",
        f"<picture><source srcset='{url}'><img alt='x'></picture>",
        f"<video poster='{url}'></video><audio src='{url}'></audio>",
        f"<iframe src='{url}'></iframe><embed src='{url}'><object data='{url}'></object>",
        f"<link rel='stylesheet' href='{url}'><base href='{url}'>",
        f"<meta http-equiv='refresh' content='0;url={url}'>",
        f"<style>@import '{url}';</style><script src='{url}'></script>",
        f"<svg><image href='{url}'/><use href='{url}'/><rect fill='url({url})'/></svg>",
        f"<p style=\"background:url('{url}')\">t</p><table background='{url}'></table>",
        f"<a title='>' style='background:url({url})'>t</a>",
        f"<b title=\">\" style='background:url({url})'>t</b>",
        f"<b<img src='{url}'>",
        f"<input type='image' src='{url}'><body background='{url}'>",
        f"<p {'a ' * 400} style='background:url({url})'>t</p>",
    ]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _ELEMENTS or _ATTRIBUTES.intersection(name for name, _ in attrs):
            self.found.append(tag)
