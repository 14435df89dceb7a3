"""Efficient Neural Architecture Search (Pham et al., 2018) in JAX.

What a notebook needs, in one place; the modules hold the rest.
"""

from enas_jax.arcs import load_arc
from enas_jax.config import PRESETS, SearchConfig, override, preset
from enas_jax.controller import Controller, Sample
from enas_jax.data.text import TextData
from enas_jax.data.text import load as load_text
from enas_jax.derive import Candidate, Derived
from enas_jax.evaluate import make_evaluate, make_score
from enas_jax.language_model import LanguageModel
from enas_jax.phases import SearchState, make_omega_step, make_theta_step
from enas_jax.policies import ControllerPolicy, UniformPolicy, make_policy
from enas_jax.report.cell import cell_svg, cell_text
from enas_jax.search import Progress, Result, Search, Splits
from enas_jax.spaces.recurrent import RecurrentArc, RecurrentSpace
from enas_jax.types import InputError

__version__ = "0.1.0"

__all__ = [
  "PRESETS",
  "Candidate",
  "Controller",
  "ControllerPolicy",
  "Derived",
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
  "load_text",
  "make_evaluate",
  "make_omega_step",
  "make_policy",
  "make_score",
  "make_theta_step",
  "override",
  "preset",
]
