"""The parts of a self-contained page: escaped text, images as data addresses, tables, sections."""

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files

import cv2
import numpy as np
from jaxtyping import UInt8

IMAGE_WIDTH_PX = 720
QUALITY = 82


def data_address(image: UInt8[np.ndarray, "height width *channels"], suffix: str, quality: int = QUALITY) -> str:
    """An RGB, RGBA or grey image as a `data:` address; `suffix` is "webp" (small) or "png" (exact)."""
    channels = image.shape[2] if image.ndim == 3 else 1
    order = {1: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[channels]
    pixels = image if order is None else cv2.cvtColor(image, order)
    options = [cv2.IMWRITE_WEBP_QUALITY, quality] if suffix == "webp" else [cv2.IMWRITE_PNG_COMPRESSION, 9]
    done, content = cv2.imencode(f".{suffix}", pixels, options)
    assert done
    return f"data:image/{suffix};base64,{base64.b64encode(content.tobytes()).decode()}"


def shrink(image: UInt8[np.ndarray, "height width 3"], width: int = IMAGE_WIDTH_PX) -> UInt8[np.ndarray, "h w 3"]:
    """The image at no more than `width` px."""
    if image.shape[1] <= width:
        return image
    return cv2.resize(image, (width, round(image.shape[0] * width / image.shape[1])), interpolation=cv2.INTER_AREA)


def image_tag(image: UInt8[np.ndarray, "height width *channels"], words: str, suffix: str = "webp") -> str:
    """An <img> that carries its image; `words` say what it shows to those who cannot see it."""
    height, width = image.shape[:2]
    address = data_address(image, suffix)
    return f'<img src="{address}" alt="{escape(words)}" width="{width}" height="{height}" loading="lazy">'


def figure(content: str, caption: str, kind: str = "") -> str:
    """A drawing or image (HTML) with its caption (HTML)."""
    return f'<figure class="{kind}">{content}<figcaption>{caption}</figcaption></figure>'


def section(name: str, heading: str, body: str, lead: str = "") -> str:
    """A part of the page, or nothing where the body (HTML) is empty."""
    if not body:
        return ""
    lead = f'<p class="lead">{lead}</p>' if lead else ""
    return f'<section id="{name}"><h2>{escape(heading)}</h2>{lead}{body}</section>'


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], kind: str) -> str:
    """Cells are HTML and carry their column's name, for screens on which each row becomes a block.

    A row whose last cell is empty continues what the row above says there (class "same").
    """
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(_row(columns, row) for row in rows)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(columns: Sequence[str], row: Sequence[str]) -> str:
    cells = (f'<td data-column="{escape(column)}">{cell}</td>' for column, cell in zip(columns, row, strict=True))
    kind = "" if row[-1] else ' class="same"'
    return f"<tr{kind}>{''.join(cells)}</tr>"


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Line samples with their names; entries are (CSS class of the sample, words)."""
    items = "".join(f'<span class="key"><i class="{kind}"></i>{escape(words)}</span>' for kind, words in entries)
    return f'<span class="legend">{items}</span>'


def chip(words: str) -> str:
    """A short word in a pill; its colour follows from the word (done, skipped, ok, note, unfit)."""
    return f'<span class="chip {escape(words)}">{escape(words)}</span>'


def page(title: str, body: str) -> str:
    """The whole document, style included; it asks for nothing from outside."""
    style = files("firstsight.show").joinpath("report.css").read_text()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )
