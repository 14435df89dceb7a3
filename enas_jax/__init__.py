"""Efficient Neural Architecture Search (Pham et al., 2018) in JAX.

What a notebook needs, in one place; the modules hold the rest. Each name is
imported when it is first used, so that a model that was exported loads without
the search.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from enas_jax.arcs import load_arc
  from enas_jax.config import PRESETS, SearchConfig, override, preset
  from enas_jax.controller import Controller, Sample
  from enas_jax.data.images import load as load_images
  from enas_jax.data.text import TextData
  from enas_jax.data.text import load as load_text
  from enas_jax.derive import Candidate, Derived
  from enas_jax.evaluate import make_evaluate, make_score
  from enas_jax.export import load as load_exported
  from enas_jax.export import save as save_exported
  from enas_jax.image_classifier import ImageClassifier
  from enas_jax.language_model import LanguageModel
  from enas_jax.loop import Progress, Splits
  from enas_jax.phases import make_omega_step, make_theta_step
  from enas_jax.policies import ControllerPolicy, UniformPolicy, make_policy
  from enas_jax.report.cell import cell_svg, cell_text
  from enas_jax.search import Result, Search
  from enas_jax.spaces.recurrent import RecurrentArc, RecurrentSpace
  from enas_jax.states import SearchState
  from enas_jax.types import InputError

__version__ = "0.1.0"

__all__ = [
  "PRESETS",
  "Candidate",
  "Controller",
  "ControllerPolicy",
  "Derived",
  "ImageClassifier",
  "InputError",
  "LanguageModel",
  "Progress",
  "RecurrentArc",
  "RecurrentSpace",
  "Result",
  "Sample",
  "Search",
  "SearchConfig",
  "SearchState",
  "Splits",
  "TextData",
  "UniformPolicy",
  "cell_svg",
  "cell_text",
  "load_arc",
  "load_exported",
  "load_images",
  "load_text",
  "make_evaluate",
  "make_omega_step",
  "make_policy",
  "make_score",
  "make_theta_step",
  "override",
  "preset",
  "save_exported",
]

# Where each name comes from, and what it is called there if not the same; the
# imports above say it to type checkers.
_SOURCES = {
  "PRESETS": "config",
  "Candidate": "derive",
  "Controller": "controller",
  "ControllerPolicy": "policies",
  "Derived": "derive",
  "ImageClassifier": "image_classifier",
  "InputError": "types",
  "LanguageModel": "language_model",
  "Progress": "loop",
  "RecurrentArc": "spaces.recurrent",
  "RecurrentSpace": "spaces.recurrent",
  "Result": "search",
  "Sample": "controller",
  "Search": "search",
  "SearchConfig": "config",
  "SearchState": "states",
  "Splits": "loop",
  "TextData": "data.text",
  "UniformPolicy": "policies",
  "cell_svg": "report.cell",
  "cell_text": "report.cell",
  "load_arc": "arcs",
  "load_exported": "export:load",
  "load_images": "data.images:load",
  "load_text": "data.text:load",
  "make_evaluate": "evaluate",
  "make_omega_step": "phases",
  "make_policy": "policies",
  "make_score": "evaluate",
  "make_theta_step": "phases",
  "override": "config",
  "preset": "config",
  "save_exported": "export:save",
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


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
