"""Self-contained HTML pages from the templates of this room, as a file or within a notebook."""

import base64
import html
from datetime import datetime
from typing import Any

FRAME_HEIGHT = 900  # height of a page in a notebook, in pixels


def render(template: str, content: dict[str, Any]) -> str:
    """Render a page.

    Args:
        template: file name of its template.
        content: the variables of the template; ``written``, the time, is added.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # only pages need it

    environment = Environment(
        loader=PackageLoader("cifar_cnn.analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    written = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    return environment.get_template(template).render({**content, "written": written})


def framed(page: str | bytes, title: str) -> str:
    """A page as an element of a notebook, which keeps its styles and scripts apart."""
    content = base64.b64encode(page.encode() if isinstance(page, str) else page).decode()
    style = f"width: 100%; height: {FRAME_HEIGHT}px; border: 1px solid #ccc"
    return (
        f'<iframe title="{html.escape(title, quote=True)}" src="data:text/html;base64,{content}" '
        f'style="{style}"></iframe>'
    )
