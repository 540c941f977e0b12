"""report.html: one page that needs nothing from elsewhere, for people; the result is inside it for programs."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from hasten.errors import MissingError
from hasten.report.cells import columns, digits, percent, signed, times
from hasten.report.picture import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Picture, picture
from hasten.report.table import ranked


def missing() -> str | None:
    """Why no page can be made on this machine, and what mends it; None when it can."""
    found = importlib.util.find_spec("jinja2")
    return None if found else "jinja2 is not installed: pip install 'hasten[report]'"


def require() -> None:
    """
    Raises:
        MissingError: no page can be made here.
    """
    if reason := missing():
        raise MissingError("the report cannot be written", reason)


def page(result: Mapping[str, Any]) -> str:
    """The page of a search.

    Args:
        result: as in spec/result.schema.json; every text in it is shown as text, whatever it looks like.

    Returns:
        HTML without scripts that run and without anything to load. The result is in it
        as JSON, where `report.kept` finds it.

    Raises:
        MissingError: jinja2 is not installed.
    """
    return rendered(
        "page.html.j2",
        result,
        picture(result),
        columns=columns(result["metric"]["name"]),
        trials=ranked(result["trials"]),
        versus=_versus(result),
        digits=digits,
        percent=percent,
        signed=signed,
        times=times,
    )


def rendered(template: str, result: Mapping[str, Any], drawn: Picture | None, **more: Any) -> str:
    """A template of this folder, filled in; every text is shown as text.

    Raises:
        MissingError: jinja2 is not installed.
    """
    require()
    import jinja2

    surroundings = jinja2.Environment(
        loader=jinja2.PackageLoader("hasten.report", "."), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    surroundings.policies["json.dumps_kwargs"] = {"allow_nan": False}
    frame = {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
    }
    return surroundings.get_template(template).render(result=result, picture=drawn, frame=frame, **more)


def _versus(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The winner's speedup over each baseline: engine, speedup, interval."""
    over = (result["winner"] or {}).get("speedups", {})
    return [
        (name, times(s["value"]), ", ".join(map(times, s["ci95"])) if s["ci95"] else "") for name, s in over.items()
    ]
