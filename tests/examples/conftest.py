"""A file of an example as a module, without a trace in sys.modules."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example_module() -> Callable[[str], ModuleType]:
    def load(path: str) -> ModuleType:
        spec = spec_from_file_location(path.replace("/", "_").removesuffix(".py"), EXAMPLES / path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
