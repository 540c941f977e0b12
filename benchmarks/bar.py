"""A bar: a figure beside its bound, as one line that benchmarks/bars.py collects."""


def line_of(what: str, figure: object, bound: str, passed: bool) -> str:
    shown = f"{figure:.4g}" if isinstance(figure, float) else str(figure)
    return f"BAR {'yes' if passed else 'NO '} {what}: {shown} (bound: {bound})"


def bar(what: str, figure: object, bound: str, passed: bool) -> bool:
    """Print the line, and hand `passed` on."""
    print(line_of(what, figure, bound, passed), flush=True)
    return passed
