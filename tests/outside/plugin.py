"""A space, a strategy and a task from outside the package: a line for each.

  python -m experiments.search --plugin=tests.outside.plugin --space=widths \
    --policy=bandit --preset=smoke --dataset=digits
"""

from enas_jax.spaces import registry as spaces
from enas_jax.strategies import registry as strategies
from enas_jax.tasks import registry as tasks
from tests.outside import bandit, top2, widths

spaces.register(widths.DEFINITION)
strategies.register(bandit.DEFINITION)
tasks.register(top2.DEFINITION)
