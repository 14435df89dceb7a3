"""Efficient Neural Architecture Search (Pham et al., 2018) in JAX.

What a notebook needs, in one place; the modules hold the rest. Each name is
imported when it is first used, so that a model that was exported loads without
the search.
"""

import importlib
import types as types_lib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from enas_jax.config import PRESETS, SearchConfig, override
  from enas_jax.data.images import load as load_images
  from enas_jax.data.text import TextData
  from enas_jax.data.text import load as load_text
  from enas_jax.export import load as load_exported
  from enas_jax.export import save as save_exported
  from enas_jax.report.drawing import draw
  from enas_jax.running.one_call import train
  from enas_jax.search.derive import Candidate, Ranked, Result
  from enas_jax.search.evaluate import make_evaluate, make_score
  from enas_jax.search.loop import Progress
  from enas_jax.search.search import Search
  from enas_jax.search.state import SearchState
  from enas_jax.search.steps import make_omega_step
  from enas_jax.search.theta_steps import make_theta_step
  from enas_jax.spaces.arcs import load_arc
  from enas_jax.spaces.recurrent.arc import RecurrentArc, RecurrentSpace
  from enas_jax.spaces.registry import get as get_space
  from enas_jax.spaces.registry import preset
  from enas_jax.strategies.base import Judge, Strategy
  from enas_jax.strategies.controller import Controller, Sample
  from enas_jax.strategies.registry import create as create_strategy
  from enas_jax.strategies.registry import with_policy
  from enas_jax.tasks.base import Splits
  from enas_jax.tasks.image_classifier import ImageClassifier
  from enas_jax.tasks.language_model import LanguageModel
  from enas_jax.tasks.registry import get as get_task
  from enas_jax.types import InputError

__version__ = "0.1.0"

__all__ = [
  "PRESETS",
  "Candidate",
  "Controller",
  "ImageClassifier",
  "InputError",
  "Judge",
  "LanguageModel",
  "Progress",
  "Ranked",
  "RecurrentArc",
  "RecurrentSpace",
  "Result",
  "Sample",
  "Search",
  "SearchConfig",
  "SearchState",
  "Splits",
  "Strategy",
  "TextData",
  "create_strategy",
  "draw",
  "get_space",
  "get_task",
  "load_arc",
  "load_exported",
  "load_images",
  "load_text",
  "make_evaluate",
  "make_omega_step",
  "make_score",
  "make_theta_step",
  "override",
  "preset",
  "save_exported",
  "train",
  "with_policy",
]

# Where each name comes from, and what it is called there if not the same; the
# imports above say it to type checkers.
_SOURCES = {
  "PRESETS": "config",
  "Candidate": "search.derive",
  "Controller": "strategies.controller",
  "ImageClassifier": "tasks.image_classifier",
  "InputError": "types",
  "Judge": "strategies.base",
  "LanguageModel": "tasks.language_model",
  "Progress": "search.loop",
  "Ranked": "search.derive",
  "RecurrentArc": "spaces.recurrent.arc",
  "RecurrentSpace": "spaces.recurrent.arc",
  "Result": "search.derive",
  "Sample": "strategies.controller",
  "Search": "search.search",
  "SearchConfig": "config",
  "SearchState": "search.state",
  "Splits": "tasks.base",
  "Strategy": "strategies.base",
  "TextData": "data.text",
  "create_strategy": "strategies.registry:create",
  "draw": "report.drawing",
  "get_space": "spaces.registry:get",
  "get_task": "tasks.registry:get",
  "load_arc": "spaces.arcs",
  "load_exported": "export:load",
  "load_images": "data.images:load",
  "load_text": "data.text:load",
  "make_evaluate": "search.evaluate",
  "make_omega_step": "search.steps",
  "make_score": "search.evaluate",
  "make_theta_step": "search.theta_steps",
  "override": "config",
  "preset": "spaces.registry",
  "save_exported": "export:save",
  "train": "running.one_call",
  "with_policy": "strategies.registry",
}

if not TYPE_CHECKING:  # or type checkers would believe in any name

  def __getattr__(name: str) -> Any:
    if name not in _SOURCES:
      raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _SOURCES[name].partition(":")
    found = importlib.import_module(f"{__name__}.{module}")
    value = getattr(found, attribute or name)
    globals()[name] = value
    return value


class _Callable(types_lib.ModuleType):
  """The module `enas_jax.search`, which is a function, too."""

  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    one_call = importlib.import_module("enas_jax.running.one_call")
    return one_call.search(*args, **kwargs)


# The room of that name must stay what it is, yet a whole search be one call:
# `enas_jax.search("micro", data)`. It is empty and imports nothing.
importlib.import_module("enas_jax.search").__class__ = _Callable


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
